// SPDX-License-Identifier: Apache-2.0

// What is wrong with a PROXY header, for a person.

#include "CServerCore.h"

const char *csc_proxy_error_text(csc_proxy_error error) {
    static const char *const texts[] = {
        [CSC_PROXY_ERROR_NONE] = "",
        [CSC_PROXY_ERROR_SIGNATURE] = "There is no PROXY header",
        [CSC_PROXY_ERROR_VERSION] = "The version of the PROXY header is unknown",
        [CSC_PROXY_ERROR_LINE_LENGTH] = "The PROXY header has no CR LF within 107 bytes",
        [CSC_PROXY_ERROR_LINE_END] = "The PROXY header has a CR or an LF without the other",
        [CSC_PROXY_ERROR_LINE_FIELDS] = "The PROXY header does not have six fields with one space "
                                        "between each two",
        [CSC_PROXY_ERROR_PROTOCOL] = "The PROXY header names an unknown protocol",
        [CSC_PROXY_ERROR_ADDRESS] =
            "An address is missing, or is not one of the PROXY header's protocol",
        [CSC_PROXY_ERROR_PORT] = "A port in the PROXY header is not a number from 0 to 65535",
        [CSC_PROXY_ERROR_COMMAND] = "The PROXY header's command is neither LOCAL nor PROXY",
        [CSC_PROXY_ERROR_DATAGRAM] = "The PROXY header is one of datagrams",
        [CSC_PROXY_ERROR_LENGTH] = "The PROXY header is too long",
        [CSC_PROXY_ERROR_ADDRESS_BLOCK] = "The PROXY header is too short for its addresses",
        [CSC_PROXY_ERROR_TLV] = "A TLV goes past the end of the PROXY header",
        [CSC_PROXY_ERROR_UNIQUE_ID] = "The unique ID in the PROXY header is longer than 128 bytes",
        [CSC_PROXY_ERROR_CHECKSUM_TLV] =
            "The PROXY header's checksum has another length than 4, or is "
            "there twice",
        [CSC_PROXY_ERROR_CHECKSUM] = "The PROXY header's checksum is wrong",
        [CSC_PROXY_ERROR_V1_TLV] = "A PROXY header of version 1 has neither TLVs nor a checksum",
        [CSC_PROXY_ERROR_GIVEN_CHECKSUM] =
            "The checksum of a PROXY header is calculated, not given as a TLV",
    };
    size_t count = sizeof texts / sizeof texts[0];
    return (size_t)error < count ? texts[error] : "Unknown error of a PROXY header";
}
