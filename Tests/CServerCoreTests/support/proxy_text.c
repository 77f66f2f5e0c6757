// SPDX-License-Identifier: Apache-2.0

#include "proxy_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static void add(char *text, const char *format, ...) {
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, PROXY_TEXT_SIZE - used, format, arguments);
    va_end(arguments);
}

static void add_bytes(char *text, csc_proxy_bytes bytes) {
    add(text, "%.*s", bytes.start ? (int)bytes.count : 1,
        bytes.start ? (const char *)bytes.start : "-");
}

static const char *protocol_name(uint8_t protocol) {
    switch ((csc_proxy_protocol)protocol) {
    case CSC_PROXY_PROTOCOL_UNKNOWN:
        return "UNKNOWN";
    case CSC_PROXY_PROTOCOL_TCP4:
        return "TCP4";
    case CSC_PROXY_PROTOCOL_TCP6:
        return "TCP6";
    case CSC_PROXY_PROTOCOL_UNIX_STREAM:
        return "UNIX";
    }
    return "?";
}

static void add_address(char *text, const csc_address *address) {
    char literal[CSC_ADDRESS_TEXT_SIZE];
    if (csc_address_format(address, literal, sizeof literal) == 0) {
        add(text, " -");
    } else {
        add(text, " %s:%u", literal, address->port);
    }
}

static void add_texts(char *text, csc_proxy_bytes tlvs) {
    csc_proxy_bytes value;
    if (csc_proxy_tlv_find(tlvs, CSC_PROXY_TLV_ALPN, &value)) {
        add(text, " alpn=");
        add_bytes(text, value);
    }
    if (csc_proxy_tlv_find(tlvs, CSC_PROXY_TLV_AUTHORITY, &value)) {
        add(text, " authority=");
        add_bytes(text, value);
    }
    if (csc_proxy_tlv_find(tlvs, CSC_PROXY_TLV_UNIQUE_ID, &value)) {
        add(text, " id=");
        for (size_t i = 0; i < value.count; i++) {
            add(text, "%02x", value.start[i]);
        }
    }
}

static void add_tls(char *text, csc_proxy_bytes tlvs) {
    csc_proxy_tls tls;
    if (csc_proxy_tls_read(tlvs, &tls)) {
        add(text, " tls=");
        add_bytes(text, tls.version);
        add(text, "/");
        add_bytes(text, tls.cipher);
        add(text, "/");
        add_bytes(text, tls.common_name);
        add(text, "/%s%s%s", tls.is_tls ? "t" : "", tls.has_certificate ? "c" : "",
            tls.is_verified ? "v" : "");
    }
}

static void add_clouds(char *text, csc_proxy_bytes tlvs) {
    csc_proxy_bytes endpoint;
    uint32_t link;
    uint64_t connection;
    if (csc_proxy_aws_vpc_endpoint(tlvs, &endpoint)) {
        add(text, " vpce=");
        add_bytes(text, endpoint);
    }
    if (csc_proxy_azure_link_id(tlvs, &link)) {
        add(text, " link=%" PRIu32, link);
    }
    if (csc_proxy_gcp_connection_id(tlvs, &connection)) {
        add(text, " connection=%" PRIu64, connection);
    }
}

void proxy_text(const csc_proxy_header *header, const uint8_t *bytes, char *text) {
    csc_proxy_bytes tlvs = csc_proxy_header_tlvs(header, bytes);
    csc_proxy_tlv tlv = {0};
    int others = 0;
    text[0] = '\0';
    add(text, "%d %s %s", header->version, header->is_local ? "LOCAL" : "PROXY",
        protocol_name(header->protocol));
    add_address(text, &header->source);
    add_address(text, &header->destination);
    if (header->has_checksum) {
        add(text, " checksum");
    }
    add_texts(text, tlvs);
    add_tls(text, tlvs);
    add_clouds(text, tlvs);
    while (csc_proxy_tlv_next(tlvs, &tlv)) {
        others += tlv.type != CSC_PROXY_TLV_NOOP && tlv.type != CSC_PROXY_TLV_CRC32C;
    }
    if (others > 0) {
        add(text, " others=%d", others);
    }
}
