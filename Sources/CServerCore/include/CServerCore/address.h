// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/address.h
 * Addresses. Include CServerCore.h.
 */
#ifndef CSERVERCORE_ADDRESS_H
#define CSERVERCORE_ADDRESS_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sockaddr;
struct sockaddr_storage;

CSC_ASSUME_NONNULL

/**
 * @defgroup addresses Addresses
 * Reading and writing them. All of these may be called from any thread.
 * @{
 */

/** What a csc_address holds. */
typedef enum csc_family {
    CSC_FAMILY_NONE = 0, /**< no address */
    CSC_FAMILY_ANY = 1,  /**< every interface, IPv4 and IPv6 on one socket */
    CSC_FAMILY_UNIX = 2, /**< a UNIX socket; it has no bytes and no text, see @ref unix_sockets */
    CSC_FAMILY_IPV4 = 4, /**< an IPv4 address */
    CSC_FAMILY_IPV6 = 6 /**< an IPv6 address; IPv4-mapped only where csc_address_parse() read one */
} csc_family;

/** An address with its port. A plain value; all zero means no address. */
typedef struct csc_address {
    uint8_t bytes[16]; /**< network order; IPv4 uses the first four */
    uint32_t scope_id; /**< interface index of a link-local IPv6 address, else 0 */
    uint16_t port;     /**< host byte order */
    uint8_t family;    /**< a csc_family */
    uint8_t reserved;  /**< 0 */
} csc_address;

/** Room for any text that csc_address_format() writes, the final NUL included. */
#define CSC_ADDRESS_TEXT_SIZE 64

/**
 * Reads a literal: dotted IPv4, IPv6 with an optional `%scope` (interface name or number), or `*`
 * for CSC_FAMILY_ANY. Never a host name, never a short form such as `127.1`.
 *
 * @param text NUL-terminated, borrowed
 * @param port stored in the result, host byte order
 * @param address filled on success, untouched otherwise
 * @return false when the text is not a literal, or its scope is neither the name of an interface
 * nor a number from 1 to INT32_MAX; a number need not be an interface's of this machine
 */
CSC_API bool csc_address_parse(const char *text, uint16_t port, csc_address *address);

/**
 * Writes the address without its port; an IPv6 scope is written as the interface's name where it
 * has one.
 *
 * @param address borrowed
 * @param buffer filled with the text, NUL-terminated unless its size is 0
 * @param size of the buffer in bytes; CSC_ADDRESS_TEXT_SIZE is always enough
 * @return the length of the text without its NUL; 0 for CSC_FAMILY_NONE and CSC_FAMILY_UNIX, or
 * when the buffer is too small
 */
CSC_API size_t csc_address_format(const csc_address *address, char *buffer, size_t size);

/**
 * Whether an address is one of the machine to itself.
 *
 * @param address borrowed
 * @return true for 127.0.0.0/8 and ::1, an IPv4-mapped 127.0.0.0/8 included
 */
CSC_API bool csc_address_is_loopback(const csc_address *address);

/**
 * Whether two addresses are the same, port and scope included. An IPv4-mapped IPv6 address is the
 * same as the IPv4 address mapped in it. All of UNIX sockets are the same.
 *
 * @param one borrowed
 * @param other borrowed
 * @return true when they are the same
 */
CSC_API bool csc_address_equal(const csc_address *one, const csc_address *other);

/**
 * Converts from the kernel's form. An IPv4-mapped IPv6 address becomes the IPv4 address, so that a
 * peer has one form whichever socket it came through.
 *
 * @param source borrowed; NULL is too short
 * @param length of the address there, in bytes
 * @param address filled, always
 * @return false, with the address set to CSC_FAMILY_NONE, when it is neither IPv4, IPv6 nor
 * that of a UNIX socket, or too short
 */
CSC_API bool csc_address_from_sockaddr(const struct sockaddr *CSC_NULLABLE source, size_t length,
                                       csc_address *address);

/**
 * Converts to the kernel's form. CSC_FAMILY_ANY becomes `::`.
 *
 * @param address borrowed
 * @param result filled with a sockaddr_in or sockaddr_in6, the rest 0
 * @return the length of the result in bytes, 0 for CSC_FAMILY_NONE and CSC_FAMILY_UNIX
 */
CSC_API unsigned int csc_address_to_sockaddr(const csc_address *address,
                                             struct sockaddr_storage *result);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
