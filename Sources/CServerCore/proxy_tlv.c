// SPDX-License-Identifier: Apache-2.0

// The TLVs of a PROXY header. They are read where they are: nothing here relies on their having been
// checked, or copies them.

#include "CServerCore.h"
#include "proxy_format.h"

// What clouds put before their values.
enum { AWS_VPC_ENDPOINT = 0x01, AZURE_LINK_ID = 0x01 };

// In the TLV of TLS before its own TLVs: what is known, and the result of verifying.
enum { TLS_HEAD = 5, TLS_CONNECTED = 0x01, TLS_CERTIFICATE = 0x02, TLS_CERTIFICATE_BEFORE = 0x04 };

bool csc_proxy_tlv_next(csc_proxy_bytes tlvs, csc_proxy_tlv *tlv) {
    const uint8_t *start = tlv->value.start ? tlv->value.start + tlv->value.count : tlvs.start;
    size_t left = tlvs.count - (size_t)(start - tlvs.start);
    if (left < CSC__PROXY_TLV_HEAD) {
        return false;
    }
    size_t size = csc__read_16(start + 1);
    if (size > left - CSC__PROXY_TLV_HEAD) {
        return false;
    }
    *tlv = (csc_proxy_tlv){.type = start[0], .value = {start + CSC__PROXY_TLV_HEAD, size}};
    return true;
}

bool csc_proxy_tlv_find(csc_proxy_bytes tlvs, uint8_t type, csc_proxy_bytes *value) {
    csc_proxy_tlv tlv = {0};
    while (csc_proxy_tlv_next(tlvs, &tlv)) {
        if (tlv.type == type) {
            *value = tlv.value;
            return true;
        }
    }
    return false;
}

// Whether TLVs end where their bytes do.
static bool are_whole(csc_proxy_bytes tlvs) {
    csc_proxy_tlv tlv = {.value = {tlvs.start, 0}};
    while (csc_proxy_tlv_next(tlvs, &tlv)) {
    }
    return tlv.value.start + tlv.value.count == tlvs.start + tlvs.count;
}

bool csc_proxy_tls_read(csc_proxy_bytes tlvs, csc_proxy_tls *tls) {
    csc_proxy_bytes value;
    if (!csc_proxy_tlv_find(tlvs, CSC_PROXY_TLV_TLS, &value) || value.count < TLS_HEAD) {
        return false;
    }
    uint8_t client = value.start[0];
    csc_proxy_tls result = {
        .tlvs = {value.start + TLS_HEAD, value.count - TLS_HEAD},
        .is_tls = client & TLS_CONNECTED,
        .has_certificate = client & (TLS_CERTIFICATE | TLS_CERTIFICATE_BEFORE),
    };
    if (!are_whole(result.tlvs)) {
        return false;
    }
    // 0 also where there was no certificate to verify.
    result.is_verified = result.has_certificate && csc__read_32(value.start + 1) == 0;
    csc_proxy_tlv_find(result.tlvs, CSC_PROXY_TLV_TLS_VERSION, &result.version);
    csc_proxy_tlv_find(result.tlvs, CSC_PROXY_TLV_TLS_CIPHER, &result.cipher);
    csc_proxy_tlv_find(result.tlvs, CSC_PROXY_TLV_TLS_COMMON_NAME, &result.common_name);
    *tls = result;
    return true;
}

// The value of a cloud's TLV, after the byte that says which of its values it is.
static bool find_subtype(csc_proxy_bytes tlvs, uint8_t type, uint8_t subtype,
                         csc_proxy_bytes *value) {
    csc_proxy_bytes found;
    if (!csc_proxy_tlv_find(tlvs, type, &found) || found.count < 2 || found.start[0] != subtype) {
        return false;
    }
    *value = (csc_proxy_bytes){found.start + 1, found.count - 1};
    return true;
}

static bool is_of_id(uint8_t byte) {
    uint8_t lower = byte | 0x20;
    return (lower >= 'a' && lower <= 'z') || (byte >= '0' && byte <= '9') || byte == '-';
}

bool csc_proxy_aws_vpc_endpoint(csc_proxy_bytes tlvs, csc_proxy_bytes *value) {
    csc_proxy_bytes found;
    if (!find_subtype(tlvs, CSC_PROXY_TLV_AWS, AWS_VPC_ENDPOINT, &found)) {
        return false;
    }
    for (size_t i = 0; i < found.count; i++) {
        if (!is_of_id(found.start[i])) {
            return false;
        }
    }
    *value = found;
    return true;
}

bool csc_proxy_azure_link_id(csc_proxy_bytes tlvs, uint32_t *value) {
    csc_proxy_bytes found;
    if (!find_subtype(tlvs, CSC_PROXY_TLV_AZURE, AZURE_LINK_ID, &found) || found.count != 4) {
        return false;
    }
    // The one number of these headers that is not in network order.
    *value = __builtin_bswap32(csc__read_32(found.start));
    return true;
}

bool csc_proxy_gcp_connection_id(csc_proxy_bytes tlvs, uint64_t *value) {
    csc_proxy_bytes found;
    if (!csc_proxy_tlv_find(tlvs, CSC_PROXY_TLV_GCP, &found) || found.count != 8) {
        return false;
    }
    *value = (uint64_t)csc__read_32(found.start) << 32 | csc__read_32(found.start + 4);
    return true;
}
