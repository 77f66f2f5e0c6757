// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerTLS/base.h
 * What all headers of the library begin with; include CServerTLS.h.
 */
#ifndef CSERVERTLS_BASE_H
#define CSERVERTLS_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** @cond Not for programs to use. The same as in CServerCore/base.h, which need not be there. */
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
#else
#define CSC_NULLABLE
#define CSC_ASSUME_NONNULL
#define CSC_ASSUME_NONNULL_DONE
#endif
/** @endcond */

#endif
