// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/base.h
 * What all headers of the library begin with; include CServerCore.h.
 */
#ifndef CSERVERCORE_BASE_H
#define CSERVERCORE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** @cond Not for programs to use. */
#if defined(__GNUC__)
#define CSC_API __attribute__((visibility("default")))
#else
#define CSC_API
#endif

#if defined(__clang__)
#define CSC_NULLABLE _Nullable
#define CSC_ASSUME_NONNULL                                                                         \
    _Pragma("clang diagnostic push")                                                               \
        _Pragma("clang diagnostic ignored \"-Wnullability-extension\"")                            \
            _Pragma("clang assume_nonnull begin")
#define CSC_ASSUME_NONNULL_DONE _Pragma("clang assume_nonnull end") _Pragma("clang diagnostic pop")
// For Swift: a value that has a pointer, and whose other fields may be used for all that.
#define CSC_SAFE __attribute__((swift_attr("@safe")))
#else
#define CSC_NULLABLE
#define CSC_ASSUME_NONNULL
#define CSC_ASSUME_NONNULL_DONE
#define CSC_SAFE
#endif
/** @endcond */

#endif
