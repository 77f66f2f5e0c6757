// SPDX-License-Identifier: Apache-2.0

/**
 * @file CServerCore/proxy_header.h
 * The PROXY protocol's header. Include CServerCore.h.
 */
#ifndef CSERVERCORE_PROXY_HEADER_H
#define CSERVERCORE_PROXY_HEADER_H

#include "address.h"
#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

CSC_ASSUME_NONNULL

/**
 * @defgroup proxy_headers PROXY headers
 * The header that load balancers send before a client's own bytes: whose connection it is. Versions
 * 1 and 2 of the PROXY protocol, read and written, without I/O.
 *
 * These functions neither allocate nor keep anything, and may be called from any thread. Whether
 * the peer may be believed is the program's decision: any client can send such a header.
 * @{
 */

/** The longest header of version 1, its CR LF included. */
#define CSC_PROXY_HEADER_LONGEST_V1 107
/** The longest header of version 2: 16 bytes, and as many as its length field can say. */
#define CSC_PROXY_HEADER_LONGEST 65551
/** The longest header that csc_proxy_header_parse() accepts where 0 is its maximum. */
#define CSC_PROXY_HEADER_DEFAULT_MAXIMUM 4096

/** What csc_proxy_header_parse() has found. */
typedef enum csc_proxy_state {
    CSC_PROXY_MORE = 0,   /**< the beginning of a header: all bytes belong to it, and more follow */
    CSC_PROXY_DONE = 1,   /**< a whole header, which csc_proxy_header.length ends */
    CSC_PROXY_INVALID = 2 /**< no header, or a wrong one; more bytes do not change that */
} csc_proxy_state;

/** What is wrong with a header that is read or written. */
typedef enum csc_proxy_error {
    CSC_PROXY_ERROR_NONE = 0,           /**< nothing */
    CSC_PROXY_ERROR_SIGNATURE = 1,      /**< the bytes are those of neither version's first ones */
    CSC_PROXY_ERROR_VERSION = 2,        /**< the version is neither 1 nor 2 */
    CSC_PROXY_ERROR_LINE_LENGTH = 3,    /**< v1: no CR LF within 107 bytes */
    CSC_PROXY_ERROR_LINE_END = 4,       /**< v1: a CR or an LF without the other */
    CSC_PROXY_ERROR_LINE_FIELDS = 5,    /**< v1: not six fields with one space between each two */
    CSC_PROXY_ERROR_PROTOCOL = 6,       /**< v1: not TCP4, TCP6 or UNKNOWN; v2: unknown bits */
    CSC_PROXY_ERROR_ADDRESS = 7,        /**< an address is not one of its protocol, or is missing */
    CSC_PROXY_ERROR_PORT = 8,           /**< v1: not 0 to 65535, or with a leading zero */
    CSC_PROXY_ERROR_COMMAND = 9,        /**< v2: the command is neither LOCAL nor PROXY */
    CSC_PROXY_ERROR_DATAGRAM = 10,      /**< v2: the client's is no stream of bytes */
    CSC_PROXY_ERROR_LENGTH = 11,        /**< v2: longer than the maximum */
    CSC_PROXY_ERROR_ADDRESS_BLOCK = 12, /**< v2: too short for the addresses of its protocol */
    CSC_PROXY_ERROR_TLV = 13,           /**< v2: a TLV goes past the end */
    CSC_PROXY_ERROR_UNIQUE_ID = 14,     /**< v2: the unique ID is longer than 128 bytes */
    CSC_PROXY_ERROR_CHECKSUM_TLV = 15, /**< v2: a checksum of other than 4 bytes, or a second one */
    CSC_PROXY_ERROR_CHECKSUM = 16,     /**< v2: the checksum is not that of the bytes */
    CSC_PROXY_ERROR_V1_TLV = 17,       /**< writing: v1 with TLVs or a checksum */
    CSC_PROXY_ERROR_GIVEN_CHECKSUM = 18 /**< writing: the checksum as a TLV */
} csc_proxy_error;

/** What the client speaks to the proxy. */
typedef enum csc_proxy_protocol {
    CSC_PROXY_PROTOCOL_UNKNOWN = 0,       /**< not said; the header has no addresses */
    CSC_PROXY_PROTOCOL_TCP4 = 0x11,       /**< TCP over IPv4 */
    CSC_PROXY_PROTOCOL_TCP6 = 0x21,       /**< TCP over IPv6 */
    CSC_PROXY_PROTOCOL_UNIX_STREAM = 0x31 /**< a stream socket of the proxy's own machine */
} csc_proxy_protocol;

/** What a header says. A plain value without pointers; all zero is a header that says nothing. */
typedef struct csc_proxy_header {
    csc_address source;      /**< the client, as the proxy saw it; CSC_FAMILY_NONE: not said */
    csc_address destination; /**< where it connected to; CSC_FAMILY_NONE where the source is */
    uint32_t length;         /**< of the whole header in bytes, as csc_proxy_header_parse() says */
    uint32_t error_offset;   /**< which byte is wrong, counted from 0 */
    uint16_t tlv_offset;     /**< where the TLVs begin in the header; 0: it has none */
    uint16_t tlv_size;       /**< of all TLVs together in bytes; they end with the header */
    uint8_t version;         /**< 1 or 2; 0 where that cannot be seen yet */
    uint8_t protocol;        /**< a csc_proxy_protocol */
    bool is_local;           /**< v2: the proxy's own connection, such as a health check */
    bool has_checksum;       /**< v2: it has a CRC32C, which is right */
    uint8_t error;           /**< a csc_proxy_error */
    uint8_t reserved[7];     /**< 0 */
} csc_proxy_header;

/** Bytes that are somewhere else: they are not copied, and end with what they are in. */
typedef struct csc_proxy_bytes {
    const uint8_t *CSC_NULLABLE start; /**< borrowed; NULL where there are none */
    size_t count;                      /**< how many */
} csc_proxy_bytes;

/** The types of TLVs. */
typedef enum csc_proxy_tlv_type {
    CSC_PROXY_TLV_ALPN = 0x01,        /**< what the client negotiated, such as `h2` */
    CSC_PROXY_TLV_AUTHORITY = 0x02,   /**< the host name that the client asked for (SNI) */
    CSC_PROXY_TLV_CRC32C = 0x03,      /**< 4 bytes: the header's checksum */
    CSC_PROXY_TLV_NOOP = 0x04,        /**< means nothing */
    CSC_PROXY_TLV_UNIQUE_ID = 0x05,   /**< the proxy's name of the connection, 128 bytes at most */
    CSC_PROXY_TLV_TLS = 0x20,         /**< what csc_proxy_tls_read() reads */
    CSC_PROXY_TLV_TLS_VERSION = 0x21, /**< in that one: such as `TLSv1.3` */
    CSC_PROXY_TLV_TLS_COMMON_NAME = 0x22,      /**< in that one: of the client's certificate */
    CSC_PROXY_TLV_TLS_CIPHER = 0x23,           /**< in that one */
    CSC_PROXY_TLV_TLS_SIGNATURE = 0x24,        /**< in that one: algorithm of the certificate */
    CSC_PROXY_TLV_TLS_KEY = 0x25,              /**< in that one: algorithm of its key */
    CSC_PROXY_TLV_TLS_GROUP = 0x26,            /**< in that one: of the key exchange */
    CSC_PROXY_TLV_TLS_SIGNATURE_SCHEME = 0x27, /**< in that one */
    CSC_PROXY_TLV_TLS_CERTIFICATE = 0x28,      /**< in that one: the client's, as DER */
    CSC_PROXY_TLV_NETWORK_NAMESPACE = 0x30,    /**< its name on the proxy */
    CSC_PROXY_TLV_GCP = 0xe0,                  /**< what csc_proxy_gcp_connection_id() reads */
    CSC_PROXY_TLV_AWS = 0xea,                  /**< what csc_proxy_aws_vpc_endpoint() reads */
    CSC_PROXY_TLV_AZURE = 0xee                 /**< what csc_proxy_azure_link_id() reads */
} csc_proxy_tlv_type;

/** One TLV. */
typedef struct csc_proxy_tlv {
    csc_proxy_bytes value; /**< its bytes, which may be none */
    uint8_t type;          /**< a csc_proxy_tlv_type, or any other number */
} csc_proxy_tlv;

/** What a proxy says of the client's TLS. The texts are bytes as they came, without a NUL. */
typedef struct csc_proxy_tls {
    csc_proxy_bytes version;     /**< such as `TLSv1.3`; none: not said */
    csc_proxy_bytes cipher;      /**< such as `TLS_AES_128_GCM_SHA256`; none: not said */
    csc_proxy_bytes common_name; /**< of the client's certificate; none: not said */
    csc_proxy_bytes tlvs;        /**< all that the TLV has, for csc_proxy_tlv_next() */
    bool is_tls;                 /**< the client connected over TLS */
    bool has_certificate;        /**< it gave a certificate, in this session or the resumed one */
    bool is_verified;            /**< it gave a certificate, and the proxy found that valid */
} csc_proxy_tls;

/**
 * Reads the header at the beginning of a stream.
 *
 * Version 1 is read strictly: fields with one space between them, no leading zeros in numbers.
 * After `UNKNOWN` anything may follow up to the CR LF. Of version 2, DATAGRAM protocols are
 * refused; a protocol that is not said, or a UNIX socket, has no addresses here, and the
 * connection's own are the client's then. LOCAL is accepted whatever protocol it names, with or
 * without addresses, which are skipped; its TLVs begin at byte 16, and are dropped where they do
 * not end with the header or where one is malformed. A checksum that is not that of the bytes is an
 * error of every header. IPv4-mapped IPv6 addresses are reported as IPv4.
 *
 * @param bytes the first bytes of the stream, borrowed; may be NULL where there are none
 * @param count how many; those after the header are not looked at
 * @param maximum of a version 2 header's length in bytes: 0 is CSC_PROXY_HEADER_DEFAULT_MAXIMUM
 * @param header filled, always. CSC_PROXY_DONE: everything, the length is that of the header.
 * CSC_PROXY_MORE: the version, where it can be seen, and as length the least that the header can
 * have, which is more than `count`: to read no further than that is to read nothing of what follows
 * the header. CSC_PROXY_INVALID: the error, the byte that is wrong, and the version.
 * @return the state
 */
CSC_API csc_proxy_state csc_proxy_header_parse(const uint8_t *CSC_NULLABLE bytes, size_t count,
                                               size_t maximum, csc_proxy_header *header);

/**
 * The TLVs of a header, for csc_proxy_tlv_next() and what reads one of them.
 *
 * @param header borrowed; one that csc_proxy_header_parse() was done with
 * @param bytes those that were parsed, borrowed
 * @return part of these bytes; none where the header has no TLVs
 */
CSC_API csc_proxy_bytes csc_proxy_header_tlvs(const csc_proxy_header *header, const uint8_t *bytes);

/**
 * Writes a header of the version, addresses and TLVs that are given.
 *
 * Two IPv4 addresses are written as TCP4, others as TCP6, with IPv4 addresses mapped; a scope is
 * not written. LOCAL, and a header without addresses, has none: in version 1 that is
 * `PROXY UNKNOWN`. In version 2 the checksum comes after the TLVs.
 *
 * @param header borrowed: its `version`, `is_local`, `has_checksum`, `source` and `destination`
 * @param tlvs the TLVs in their order, borrowed; may be NULL where there are none. None is a
 * CSC_PROXY_TLV_CRC32C, which is for `has_checksum`
 * @param tlv_count how many
 * @param buffer filled with the header; may be NULL where its size is 0
 * @param size of the buffer in bytes
 * @param error if not NULL, set to what is wrong where nothing can be written, else to
 * CSC_PROXY_ERROR_NONE: VERSION; ADDRESS, where one is given without the other, or one is
 * CSC_FAMILY_ANY; V1_TLV; GIVEN_CHECKSUM; UNIQUE_ID; LENGTH, for more than CSC_PROXY_HEADER_LONGEST
 * @return the length of the header in bytes, 0 where nothing can be written. Where it is more than
 * `size`, nothing was written.
 */
CSC_API size_t csc_proxy_header_write(const csc_proxy_header *header,
                                      const csc_proxy_tlv *CSC_NULLABLE tlvs, size_t tlv_count,
                                      uint8_t *CSC_NULLABLE buffer, size_t size,
                                      csc_proxy_error *CSC_NULLABLE error);

/**
 * What an error is, for a person, such as "The header has no CR LF within 107 bytes".
 *
 * @param error any number
 * @return static, never freed; empty for CSC_PROXY_ERROR_NONE
 */
CSC_API const char *csc_proxy_error_text(csc_proxy_error error);

/**
 * Goes from one TLV to the next.
 *
 * @param tlvs borrowed
 * @param tlv all zero at first: then the first one is next; filled on success, untouched otherwise
 * @return false at the end, which is also where the rest is no whole TLV
 */
CSC_API bool csc_proxy_tlv_next(csc_proxy_bytes tlvs, csc_proxy_tlv *tlv);

/**
 * The value of the first TLV of a type, such as CSC_PROXY_TLV_AUTHORITY: bytes as the proxy sent
 * them, in no encoding for sure and without a NUL.
 *
 * @param tlvs borrowed
 * @param type a csc_proxy_tlv_type, or any other number
 * @param value filled on success, untouched otherwise; part of these bytes
 * @return false when there is none
 */
CSC_API bool csc_proxy_tlv_find(csc_proxy_bytes tlvs, uint8_t type, csc_proxy_bytes *value);

/**
 * Reads the CSC_PROXY_TLV_TLS among the TLVs.
 *
 * @param tlvs borrowed
 * @param tls filled on success, untouched otherwise, with parts of these bytes
 * @return false when there is none, or it is malformed
 */
CSC_API bool csc_proxy_tls_read(csc_proxy_bytes tlvs, csc_proxy_tls *tls);

/**
 * The ID of the VPC endpoint through which a client of Amazon's Network Load Balancer came.
 *
 * @param tlvs borrowed
 * @param value filled on success, untouched otherwise: letters, digits and `-`, part of these bytes
 * @return false when there is none, or it has other bytes
 */
CSC_API bool csc_proxy_aws_vpc_endpoint(csc_proxy_bytes tlvs, csc_proxy_bytes *value);

/**
 * The link ID of the private endpoint of Azure's Private Link.
 *
 * @param tlvs borrowed
 * @param value filled on success, untouched otherwise
 * @return false when there is none
 */
CSC_API bool csc_proxy_azure_link_id(csc_proxy_bytes tlvs, uint32_t *value);

/**
 * The connection ID of Google Cloud's Private Service Connect.
 *
 * @param tlvs borrowed
 * @param value filled on success, untouched otherwise
 * @return false when there is none
 */
CSC_API bool csc_proxy_gcp_connection_id(csc_proxy_bytes tlvs, uint64_t *value);

/** @} */

CSC_ASSUME_NONNULL_DONE

#ifdef __cplusplus
}
#endif

#endif
