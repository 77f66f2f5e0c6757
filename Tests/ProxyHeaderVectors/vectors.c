// SPDX-License-Identifier: Apache-2.0

// The vectors. Addresses are those of documentation; checksums were calculated by another program.

#include "ProxyHeaderVectors.h"

#define SIGNATURE        "\r\n\r\n\0\r\nQUIT\n"
#define V2(kind, length) SIGNATURE kind length
#define ZEROS_12         "\0\0\0\0\0\0\0\0\0\0\0\0"
#define ZEROS_36         ZEROS_12 ZEROS_12 ZEROS_12
#define ZEROS_74         ZEROS_36 ZEROS_36 "\0\0"
#define X_16             "xxxxxxxxxxxxxxxx"
#define X_108            X_16 X_16 X_16 X_16 X_16 X_16 "xxxxxxxxxxxx"
#define X_128            X_108 X_16 "xxxx"
#define HEX_16           "78787878787878787878787878787878"
#define HEX_128          HEX_16 HEX_16 HEX_16 HEX_16 HEX_16 HEX_16 HEX_16 HEX_16

// 192.0.2.1:56324 and 198.51.100.2:443
#define IPV4                    "\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"
#define SOURCE_6                "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define DESTINATION_6           "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"
#define IPV6                    SOURCE_6 DESTINATION_6 "\xdc\x04\x01\xbb"
#define MAPPED_6                "\0\0\0\0\0\0\0\0\0\0\xff\xff"
#define LOCAL_4                 "\x20\x11"
#define PROXY_4                 "\x21\x11"
#define PROXY_6                 "\x21\x21"
#define PROXY_UNIX              "\x21\x31"

#define SAYS_4                  "PROXY TCP4 192.0.2.1:56324 198.51.100.2:443"
#define SAYS_6                  "PROXY TCP6 2001:db8::1:56324 2001:db8::2:443"

#define GOOD(name, bytes, text) {name, bytes, sizeof(bytes) - 1, CSC_PROXY_ERROR_NONE, 0, text}
#define BAD(name, bytes, error, offset)                                                            \
    {name, bytes, sizeof(bytes) - 1, CSC_PROXY_ERROR_##error, offset, ""}

static const proxy_vector vectors[] = {
    // Version 1, good.
    GOOD("v1 IPv4", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "1 " SAYS_4),
    GOOD("v1 smallest numbers", "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n",
         "1 PROXY TCP4 0.0.0.0:0 0.0.0.0:0"),
    GOOD("v1 largest numbers", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
         "1 PROXY TCP4 255.255.255.255:65535 255.255.255.255:65535"),
    GOOD("v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", "1 " SAYS_6),
    GOOD("v1 IPv6 in capitals with all zeros",
         "PROXY TCP6 2001:0DB8:0000:0000:0000:0000:0000:0001 2001:DB8:0:0:0:0:0:2 56324 443\r\n",
         "1 " SAYS_6),
    GOOD("v1 longest IPv6",
         "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "65535 65535\r\n",
         "1 PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:65535 "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:65535"),
    GOOD("v1 no IPv6 address", "PROXY TCP6 :: :: 0 0\r\n", "1 PROXY TCP6 :::0 :::0"),
    GOOD("v1 IPv4-mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 56324 443\r\n",
         "1 PROXY TCP6 192.0.2.1:56324 198.51.100.2:443"),
    GOOD("v1 unknown", "PROXY UNKNOWN\r\n", "1 PROXY UNKNOWN - -"),
    GOOD("v1 unknown with a space", "PROXY UNKNOWN \r\n", "1 PROXY UNKNOWN - -"),
    GOOD("v1 unknown with addresses",
         "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         "1 PROXY UNKNOWN - -"),
    GOOD("v1 unknown with anything", "PROXY UNKNOWN  \t\0\xff TCP4  \r\n", "1 PROXY UNKNOWN - -"),
    GOOD("v1 unknown with a signature", "PROXY UNKNOWN PROXY TCP4\r\n", "1 PROXY UNKNOWN - -"),

    // Version 2, good.
    GOOD("v2 IPv4", V2(PROXY_4, "\x00\x0c") IPV4, "2 " SAYS_4),
    GOOD("v2 IPv4 zeros", V2(PROXY_4, "\x00\x0c") ZEROS_12, "2 PROXY TCP4 0.0.0.0:0 0.0.0.0:0"),
    GOOD("v2 IPv6", V2(PROXY_6, "\x00\x24") IPV6, "2 " SAYS_6),
    GOOD("v2 IPv4-mapped",
         V2(PROXY_6, "\x00\x24") MAPPED_6 "\xc0\x00\x02\x01" MAPPED_6 "\xc6\x33\x64\x02"
                                          "\xdc\x04\x01\xbb",
         "2 PROXY TCP6 192.0.2.1:56324 198.51.100.2:443"),
    GOOD("v2 UNIX", V2(PROXY_UNIX, "\x00\xd8") X_108 X_108, "2 PROXY UNIX - -"),
    GOOD("v2 UNIX with a TLV", V2(PROXY_UNIX, "\x00\xdd") X_108 X_108 "\x01\x00\x02h2",
         "2 PROXY UNIX - - alpn=h2 others=1"),
    GOOD("v2 unspecified", V2("\x21\x00", "\x00\x00"), "2 PROXY UNKNOWN - -"),
    GOOD("v2 unspecified with a TLV", V2("\x21\x00", "\x00\x04") "\x02\x00\x01y",
         "2 PROXY UNKNOWN - - authority=y others=1"),
    GOOD("v2 unspecified with a checksum",
         V2("\x21\x00", "\x00\x07") "\x03\x00\x04"
                                    "\x3e\xc9\x89\x4e",
         "2 PROXY UNKNOWN - - checksum"),
    GOOD("v2 unspecified family", V2("\x21\x01", "\x00\x00"), "2 PROXY UNKNOWN - -"),
    GOOD("v2 unspecified transport", V2("\x21\x10", "\x00\x0c") IPV4, "2 PROXY UNKNOWN - -"),
    GOOD("v2 unspecified transport, IPv6 with a TLV",
         V2("\x21\x20", "\x00\x27") IPV6 "\x01\x00\x00", "2 PROXY UNKNOWN - - alpn= others=1"),
    GOOD("v2 checksum",
         V2(PROXY_4, "\x00\x13") IPV4 "\x03\x00\x04"
                                      "\x20\xec\x95\x49",
         "2 " SAYS_4 " checksum"),
    GOOD("v2 checksum, IPv6",
         V2(PROXY_6, "\x00\x2b") IPV6 "\x03\x00\x04"
                                      "\x95\xb3\x79\x3a",
         "2 " SAYS_6 " checksum"),
    GOOD("v2 checksum after others",
         V2(PROXY_4, "\x00\x26") IPV4 "\x01\x00\x02h2"
                                      "\x02\x00\x0b"
                                      "example.org"
                                      "\x03\x00\x04"
                                      "\x0a\xa6\x6f\xb9",
         "2 " SAYS_4 " checksum alpn=h2 authority=example.org others=2"),
    GOOD("v2 TLV without a value", V2(PROXY_4, "\x00\x0f") IPV4 "\x02\x00\x00",
         "2 " SAYS_4 " authority= others=1"),
    GOOD("v2 NOOP", V2(PROXY_4, "\x00\x14") IPV4 "\x04\x00\x05\0\0\0\0\0", "2 " SAYS_4),
    GOOD("v2 unregistered types",
         V2(PROXY_4, "\x00\x16") IPV4 "\x00\x00\x00\xff\x00\x04\x01\x02\x03\x04",
         "2 " SAYS_4 " others=2"),
    GOOD("v2 the first of two", V2(PROXY_4, "\x00\x14") IPV4 "\x02\x00\x01x\x02\x00\x01y",
         "2 " SAYS_4 " authority=x others=2"),
    GOOD("v2 unique ID", V2(PROXY_4, "\x00\x12") IPV4 "\x05\x00\x03\x00\xfe\x41",
         "2 " SAYS_4 " id=00fe41 others=1"),
    GOOD("v2 longest unique ID", V2(PROXY_4, "\x00\x8f") IPV4 "\x05\x00\x80" X_128,
         "2 " SAYS_4 " id=" HEX_128 " others=1"),
    GOOD("v2 network namespace",
         V2(PROXY_4, "\x00\x14") IPV4 "\x30\x00\x05"
                                      "blue1",
         "2 " SAYS_4 " others=1"),
    GOOD("v2 TLS",
         V2(PROXY_4, "\x00\x45") IPV4 "\x20\x00\x36"
                                      "\x07\x00\x00\x00\x00"
                                      "\x21\x00\x07TLSv1.3"
                                      "\x22\x00\x06"
                                      "client"
                                      "\x23\x00\x16TLS_AES_128_GCM_SHA256"
                                      "\x7f\x00\x02xx",
         "2 " SAYS_4 " tls=TLSv1.3/TLS_AES_128_GCM_SHA256/client/tcv others=1"),
    GOOD("v2 TLS without a certificate", V2(PROXY_4, "\x00\x14") IPV4 "\x20\x00\x05\x01\0\0\0\0",
         "2 " SAYS_4 " tls=-/-/-/t others=1"),
    GOOD("v2 TLS with a certificate that is not valid",
         V2(PROXY_4, "\x00\x14") IPV4 "\x20\x00\x05\x03\0\0\0\x12",
         "2 " SAYS_4 " tls=-/-/-/tc others=1"),
    GOOD("v2 TLS with a certificate of the session before",
         V2(PROXY_4, "\x00\x14") IPV4 "\x20\x00\x05\x05\0\0\0\0",
         "2 " SAYS_4 " tls=-/-/-/tcv others=1"),
    GOOD("v2 not TLS", V2(PROXY_4, "\x00\x14") IPV4 "\x20\x00\x05\0\0\0\0\0",
         "2 " SAYS_4 " tls=-/-/-/ others=1"),
    GOOD("v2 TLS that is too short", V2(PROXY_4, "\x00\x13") IPV4 "\x20\x00\x04\x01\0\0\0",
         "2 " SAYS_4 " others=1"),
    GOOD("v2 TLS with half a TLV in it",
         V2(PROXY_4, "\x00\x17") IPV4 "\x20\x00\x08\x01\0\0\0\0\x21\x00\x01",
         "2 " SAYS_4 " others=1"),
    GOOD("v2 Amazon",
         V2(PROXY_4, "\x00\x54") IPV4 "\x03\x00\x04"
                                      "\xdd\xfb\xb2\x86"
                                      "\xea\x00\x17\x01vpce-0123456789abcdef0"
                                      "\x04\x00\x24" ZEROS_36,
         "2 " SAYS_4 " checksum vpce=vpce-0123456789abcdef0 others=1"),
    GOOD("v2 Amazon, capitals",
         V2(PROXY_4, "\x00\x15") IPV4 "\xea\x00\x06\x01"
                                      "VPC-Z",
         "2 " SAYS_4 " vpce=VPC-Z others=1"),
    GOOD("v2 Amazon, no ID", V2(PROXY_4, "\x00\x10") IPV4 "\xea\x00\x01\x01",
         "2 " SAYS_4 " others=1"),
    GOOD("v2 Amazon, another value",
         V2(PROXY_4, "\x00\x12") IPV4 "\xea\x00\x03\x02"
                                      "ab",
         "2 " SAYS_4 " others=1"),
    GOOD("v2 Amazon, an ID with a dot",
         V2(PROXY_4, "\x00\x13") IPV4 "\xea\x00\x04\x01"
                                      "a.b",
         "2 " SAYS_4 " others=1"),
    GOOD("v2 Amazon, an ID with a brace",
         V2(PROXY_4, "\x00\x13") IPV4 "\xea\x00\x04\x01"
                                      "a{b",
         "2 " SAYS_4 " others=1"),
    GOOD("v2 Amazon, an ID with a colon",
         V2(PROXY_4, "\x00\x13") IPV4 "\xea\x00\x04\x01"
                                      "a:b",
         "2 " SAYS_4 " others=1"),
    GOOD("v2 Azure", V2(PROXY_4, "\x00\x14") IPV4 "\xee\x00\x05\x01\x04\x03\x02\x01",
         "2 " SAYS_4 " link=16909060 others=1"),
    GOOD("v2 Azure, too short", V2(PROXY_4, "\x00\x13") IPV4 "\xee\x00\x04\x01\x04\x03\x02",
         "2 " SAYS_4 " others=1"),
    GOOD("v2 Azure, another value", V2(PROXY_4, "\x00\x14") IPV4 "\xee\x00\x05\x02\x04\x03\x02\x01",
         "2 " SAYS_4 " others=1"),
    GOOD("v2 Google Cloud",
         V2(PROXY_4, "\x00\x17") IPV4 "\xe0\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08",
         "2 " SAYS_4 " connection=72623859790382856 others=1"),
    GOOD("v2 Google Cloud, too short",
         V2(PROXY_4, "\x00\x16") IPV4 "\xe0\x00\x07\x01\x02\x03\x04\x05\x06\x07",
         "2 " SAYS_4 " others=1"),

    // LOCAL.
    GOOD("v2 LOCAL", V2("\x20\x00", "\x00\x00"), "2 LOCAL UNKNOWN - -"),
    GOOD("v2 LOCAL with a checksum",
         V2("\x20\x00", "\x00\x07") "\x03\x00\x04"
                                    "\xa9\xb8\x7e\x8f",
         "2 LOCAL UNKNOWN - - checksum"),
    GOOD("v2 LOCAL of Amazon, no addresses",
         V2(LOCAL_4, "\x00\x54") "\x03\x00\x04"
                                 "\xbc\xe5\x95\x1f"
                                 "\x04\x00\x4a" ZEROS_74,
         "2 LOCAL UNKNOWN - - checksum"),
    // Zeros are empty TLVs of type 0, too.
    GOOD("v2 LOCAL of Amazon, zeros for addresses", V2(LOCAL_4, "\x00\x0c") ZEROS_12,
         "2 LOCAL UNKNOWN - - others=4"),
    GOOD("v2 LOCAL, zeros for addresses and a checksum",
         V2(LOCAL_4, "\x00\x13") ZEROS_12 "\x03\x00\x04"
                                          "\xd5\x61\x77\xad",
         "2 LOCAL UNKNOWN - - checksum others=4"),
    GOOD("v2 LOCAL with addresses", V2(LOCAL_4, "\x00\x0c") IPV4, "2 LOCAL UNKNOWN - -"),
    GOOD("v2 LOCAL with addresses and a TLV", V2(LOCAL_4, "\x00\x11") IPV4 "\x01\x00\x02h2",
         "2 LOCAL UNKNOWN - -"),
    GOOD("v2 LOCAL with less than addresses", V2(LOCAL_4, "\x00\x01") "x", "2 LOCAL UNKNOWN - -"),
    GOOD("v2 LOCAL with a TLV", V2("\x20\x00", "\x00\x05") "\x01\x00\x02h2",
         "2 LOCAL UNKNOWN - - alpn=h2 others=1"),
    GOOD("v2 LOCAL with a TLV that goes past the end", V2("\x20\x00", "\x00\x05") "\x01\x00\x03h2",
         "2 LOCAL UNKNOWN - -"),
    GOOD("v2 LOCAL with a checksum of 3 bytes", V2("\x20\x00", "\x00\x06") "\x03\x00\x03xyz",
         "2 LOCAL UNKNOWN - -"),
    GOOD("v2 LOCAL with two checksums",
         V2("\x20\x00", "\x00\x0e") "\x03\x00\x04wxyz\x03\x00\x04wxyz", "2 LOCAL UNKNOWN - -"),
    GOOD("v2 LOCAL with a unique ID that is too long",
         V2("\x20\x00", "\x00\x84") "\x05\x00\x81" X_128 "x", "2 LOCAL UNKNOWN - -"),
    GOOD("v2 LOCAL of datagrams", V2("\x20\x12", "\x00\x0c") IPV4, "2 LOCAL UNKNOWN - -"),
    GOOD("v2 LOCAL of an unknown protocol", V2("\x20\xff", "\x00\x00"), "2 LOCAL UNKNOWN - -"),

    // No header.
    BAD("not a byte of one", "\x00", SIGNATURE, 0),
    BAD("a ClientHello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", SIGNATURE, 0),
    BAD("HTTP", "GET / HTTP/1.1\r\n\r\n", SIGNATURE, 0),
    BAD("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SIGNATURE, 2),
    BAD("HTTP PUT", "PUT / HTTP/1.1\r\n", SIGNATURE, 1),
    BAD("an empty line", "\n", SIGNATURE, 0),
    BAD("a space first", " PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", SIGNATURE, 0),
    BAD("small letters", "proxy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", SIGNATURE, 0),
    BAD("one small letter", "PROXy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", SIGNATURE, 4),
    BAD("a tab for the first space", "PROXY\tTCP4 192.0.2.1 198.51.100.2 56324 443\r\n", SIGNATURE,
        5),
    BAD("no fields", "PROXY\r\n", SIGNATURE, 5),
    BAD("another second byte", "\r\0", SIGNATURE, 1),
    BAD("another last byte of the signature", "\r\n\r\n\0\r\nQUIT\r\x21\x11\x00\x0c" IPV4,
        SIGNATURE, 11),
    BAD("a signature without the NUL", "\r\n\r\n\r\nQUIT\n\x21\x11\x00\x0c" IPV4, SIGNATURE, 4),
    BAD("empty lines", "\r\n\r\n\r\n\r\n", SIGNATURE, 4),

    // Version 1, wrong.
    BAD("v1 nothing after the space", "PROXY \r\n", PROTOCOL, 6),
    BAD("v1 two spaces first", "PROXY  TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", PROTOCOL, 6),
    BAD("v1 only the protocol", "PROXY TCP4\r\n", PROTOCOL, 6),
    BAD("v1 TCP", "PROXY TCP 192.0.2.1 198.51.100.2 56324 443\r\n", PROTOCOL, 6),
    BAD("v1 TCP5", "PROXY TCP5 192.0.2.1 198.51.100.2 56324 443\r\n", PROTOCOL, 6),
    BAD("v1 UDP4", "PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n", PROTOCOL, 6),
    BAD("v1 tcp4", "PROXY tcp4 192.0.2.1 198.51.100.2 56324 443\r\n", PROTOCOL, 6),
    BAD("v1 TCP44", "PROXY TCP44 192.0.2.1 198.51.100.2 56324 443\r\n", PROTOCOL, 6),
    BAD("v1 UNKNOWN1", "PROXY UNKNOWN1\r\n", PROTOCOL, 6),
    BAD("v1 UNKNOW", "PROXY UNKNOW\r\n", PROTOCOL, 6),
    BAD("v1 UNKNOWN and a tab", "PROXY UNKNOWN\t192.0.2.1\r\n", PROTOCOL, 6),
    BAD("v1 a tab after the protocol", "PROXY TCP4\t192.0.2.1 198.51.100.2 56324 443\r\n", PROTOCOL,
        6),
    BAD("v1 no addresses", "PROXY TCP4 \r\n", LINE_FIELDS, 11),
    BAD("v1 one address", "PROXY TCP4 192.0.2.1\r\n", LINE_FIELDS, 20),
    BAD("v1 no ports", "PROXY TCP4 192.0.2.1 198.51.100.2\r\n", LINE_FIELDS, 33),
    BAD("v1 one port", "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n", LINE_FIELDS, 39),
    BAD("v1 one port and a space", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 \r\n", LINE_FIELDS, 40),
    BAD("v1 a space at the end", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n", LINE_FIELDS,
        43),
    BAD("v1 seven fields", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n", LINE_FIELDS, 43),
    BAD("v1 two spaces after the protocol", "PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n",
        LINE_FIELDS, 11),
    BAD("v1 two spaces between addresses", "PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n",
        LINE_FIELDS, 21),
    BAD("v1 two spaces between ports", "PROXY TCP4 192.0.2.1 198.51.100.2 56324  443\r\n",
        LINE_FIELDS, 40),
    BAD("v1 a tab between addresses", "PROXY TCP4 192.0.2.1\t198.51.100.2 56324 443\r\n",
        LINE_FIELDS, 43),
    BAD("v1 three numbers", "PROXY TCP4 192.0.2 198.51.100.2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 five numbers", "PROXY TCP4 192.0.2.1.5 198.51.100.2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 a dot at the end", "PROXY TCP4 192.0.2.1. 198.51.100.2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 an empty number", "PROXY TCP4 192..2.1 198.51.100.2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 256", "PROXY TCP4 192.0.2.256 198.51.100.2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 a number of six digits", "PROXY TCP4 192.0.2.100000 198.51.100.2 56324 443\r\n",
        ADDRESS, 11),
    BAD("v1 a leading zero in an address", "PROXY TCP4 192.0.02.1 198.51.100.2 56324 443\r\n",
        ADDRESS, 11),
    BAD("v1 two zeros in an address", "PROXY TCP4 192.00.2.1 198.51.100.2 56324 443\r\n", ADDRESS,
        11),
    BAD("v1 a hexadecimal number", "PROXY TCP4 192.0.2.a 198.51.100.2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 a sign in an address", "PROXY TCP4 192.0.2.+1 198.51.100.2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 a colon in an address", "PROXY TCP4 192.0.2.: 198.51.100.2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 a slash in an address", "PROXY TCP4 192.0.2.1/ 198.51.100.2 56324 443\r\n", ADDRESS,
        11),
    BAD("v1 a NUL in an address", "PROXY TCP4 192.0.2.1\0 198.51.100.2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 a host name", "PROXY TCP4 localhost 198.51.100.2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 a wrong destination", "PROXY TCP4 192.0.2.1 198.51.100 56324 443\r\n", ADDRESS, 21),
    BAD("v1 IPv6 for TCP4", "PROXY TCP4 2001:db8::1 2001:db8::2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 IPv4 for TCP6", "PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 IPv4-mapped for TCP4", "PROXY TCP4 ::ffff:192.0.2.1 198.51.100.2 56324 443\r\n",
        ADDRESS, 11),
    BAD("v1 both families", "PROXY TCP6 2001:db8::1 198.51.100.2 56324 443\r\n", ADDRESS, 23),
    BAD("v1 five groups", "PROXY TCP6 2001:db8:1:2:3 2001:db8::2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 nine groups", "PROXY TCP6 1:2:3:4:5:6:7:8:9 2001:db8::2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 two gaps", "PROXY TCP6 2001::db8::1 2001:db8::2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 a group of five digits", "PROXY TCP6 2001:00db8::1 2001:db8::2 56324 443\r\n", ADDRESS,
        11),
    BAD("v1 a scope", "PROXY TCP6 fe80::1%lo 2001:db8::2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 brackets", "PROXY TCP6 [2001:db8::1] 2001:db8::2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 a NUL in an IPv6 address", "PROXY TCP6 ::1\0 2001:db8::2 56324 443\r\n", ADDRESS, 11),
    BAD("v1 an IPv6 address of 46 bytes",
        "PROXY TCP6 0000:0000:0000:0000:0000:ffff:255.255.255.2555 :: 56324 443\r\n", ADDRESS, 11),
    BAD("v1 port 65536", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", PORT, 34),
    BAD("v1 port 99999", "PROXY TCP4 192.0.2.1 198.51.100.2 99999 443\r\n", PORT, 34),
    BAD("v1 port 4294967296", "PROXY TCP4 192.0.2.1 198.51.100.2 4294967296 443\r\n", PORT, 34),
    BAD("v1 port -1", "PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n", PORT, 34),
    BAD("v1 port +1", "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n", PORT, 34),
    BAD("v1 a leading zero in a port", "PROXY TCP4 192.0.2.1 198.51.100.2 056 443\r\n", PORT, 34),
    BAD("v1 port 00", "PROXY TCP4 192.0.2.1 198.51.100.2 00 443\r\n", PORT, 34),
    BAD("v1 port 0x1", "PROXY TCP4 192.0.2.1 198.51.100.2 0x1 443\r\n", PORT, 34),
    BAD("v1 a name for a port", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 http\r\n", PORT, 40),
    BAD("v1 a NUL after the last port", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\0\r\n", PORT,
        40),
    BAD("v1 LF alone", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n", LINE_END, 43),
    BAD("v1 CR alone", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\rG", LINE_END, 44),
    BAD("v1 two CR", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\r\n", LINE_END, 44),
    BAD("v1 LF CR", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n\r", LINE_END, 43),
    BAD("v1 CR in the line", "PROXY TCP4 192.0.2.1\r198.51.100.2 56324 443\r\n", LINE_END, 21),
    BAD("v1 LF after UNKNOWN", "PROXY UNKNOWN\n", LINE_END, 13),
    BAD("v1 LF in UNKNOWN", "PROXY UNKNOWN a\nb\r\n", LINE_END, 15),
    // One byte more than UNKNOWN with addresses above.
    BAD("v1 108 bytes",
        "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655350\r\n",
        LINE_LENGTH, 105),
    BAD("v1 without an end", "PROXY TCP4 " X_128, LINE_LENGTH, 105),
    BAD("v1 UNKNOWN without an end", "PROXY UNKNOWN " X_128 "\r\n", LINE_LENGTH, 105),

    // Version 2, wrong.
    BAD("v2 version 0", V2("\x01\x11", "\x00\x0c") IPV4, VERSION, 12),
    BAD("v2 version 1", V2("\x11\x11", "\x00\x0c") IPV4, VERSION, 12),
    BAD("v2 version 3", V2("\x31\x11", "\x00\x0c") IPV4, VERSION, 12),
    BAD("v2 version 15", V2("\xf1\x11", "\x00\x0c") IPV4, VERSION, 12),
    BAD("v2 command 2", V2("\x22\x11", "\x00\x0c") IPV4, COMMAND, 12),
    BAD("v2 command 8", V2("\x28\x11", "\x00\x0c") IPV4, COMMAND, 12),
    BAD("v2 command 15", V2("\x2f\x11", "\x00\x0c") IPV4, COMMAND, 12),
    BAD("v2 family 4", V2("\x21\x41", "\x00\x0c") IPV4, PROTOCOL, 13),
    BAD("v2 family 15", V2("\x21\xf1", "\x00\x0c") IPV4, PROTOCOL, 13),
    BAD("v2 transport 3", V2("\x21\x13", "\x00\x0c") IPV4, PROTOCOL, 13),
    BAD("v2 transport 15", V2("\x21\x1f", "\x00\x0c") IPV4, PROTOCOL, 13),
    BAD("v2 UDP over IPv4", V2("\x21\x12", "\x00\x0c") IPV4, DATAGRAM, 13),
    BAD("v2 UDP over IPv6", V2("\x21\x22", "\x00\x24") IPV6, DATAGRAM, 13),
    BAD("v2 UNIX datagrams", V2("\x21\x32", "\x00\xd8") X_108 X_108, DATAGRAM, 13),
    BAD("v2 datagrams of no family", V2("\x21\x02", "\x00\x00"), DATAGRAM, 13),
    BAD("v2 IPv4 of 0 bytes", V2(PROXY_4, "\x00\x00"), ADDRESS_BLOCK, 14),
    BAD("v2 IPv4 of 11 bytes", V2(PROXY_4, "\x00\x0b") IPV4, ADDRESS_BLOCK, 14),
    BAD("v2 IPv4 of no transport of 11 bytes", V2("\x21\x10", "\x00\x0b") IPV4, ADDRESS_BLOCK, 14),
    BAD("v2 IPv6 of 35 bytes", V2(PROXY_6, "\x00\x23") IPV6, ADDRESS_BLOCK, 14),
    BAD("v2 IPv6 with IPv4 addresses", V2(PROXY_6, "\x00\x0c") IPV4, ADDRESS_BLOCK, 14),
    BAD("v2 UNIX of 215 bytes", V2(PROXY_UNIX, "\x00\xd7") X_108 X_108, ADDRESS_BLOCK, 14),
    BAD("v2 65,551 bytes", V2(PROXY_4, "\xff\xff") IPV4, LENGTH, 14),
    BAD("v2 4,097 bytes", V2(PROXY_4, "\x0f\xf1") IPV4, LENGTH, 14),
    BAD("v2 LOCAL of 4,097 bytes", V2("\x20\x00", "\x0f\xf1"), LENGTH, 14),
    BAD("v2 one byte too many", V2(PROXY_4, "\x00\x0d") IPV4 "\x04", TLV, 28),
    BAD("v2 a TLV of 2 bytes", V2(PROXY_4, "\x00\x0e") IPV4 "\x04\x00", TLV, 28),
    BAD("v2 a TLV that goes past the end by 1", V2(PROXY_4, "\x00\x11") IPV4 "\x01\x00\x03h2", TLV,
        28),
    BAD("v2 a TLV of 65,535 bytes", V2(PROXY_4, "\x00\x11") IPV4 "\x01\xff\xffh2", TLV, 28),
    BAD("v2 the second TLV goes past the end",
        V2(PROXY_4, "\x00\x15") IPV4 "\x01\x00\x02h2\x02\x00\x02x", TLV, 33),
    BAD("v2 a byte after the last TLV", V2(PROXY_4, "\x00\x12") IPV4 "\x01\x00\x02h2x", TLV, 33),
    BAD("v2 unspecified with a byte", V2("\x21\x00", "\x00\x01") "x", TLV, 16),
    BAD("v2 unspecified with addresses", V2("\x21\x00", "\x00\x0c") IPV4, TLV, 21),
    BAD("v2 a checksum of 3 bytes", V2(PROXY_4, "\x00\x12") IPV4 "\x03\x00\x03xyz", CHECKSUM_TLV,
        28),
    BAD("v2 a checksum of 5 bytes", V2(PROXY_4, "\x00\x14") IPV4 "\x03\x00\x05vwxyz", CHECKSUM_TLV,
        28),
    BAD("v2 a checksum of no bytes", V2(PROXY_4, "\x00\x0f") IPV4 "\x03\x00\x00", CHECKSUM_TLV, 28),
    BAD("v2 two checksums",
        V2(PROXY_4, "\x00\x1a") IPV4 "\x03\x00\x04"
                                     "\x20\xec\x95\x49"
                                     "\x03\x00\x04"
                                     "\x20\xec\x95\x49",
        CHECKSUM_TLV, 35),
    BAD("v2 a wrong checksum",
        V2(PROXY_4, "\x00\x13") IPV4 "\x03\x00\x04"
                                     "wxyz",
        CHECKSUM, 31),
    BAD("v2 a checksum of zeros", V2(PROXY_4, "\x00\x13") IPV4 "\x03\x00\x04\0\0\0\0", CHECKSUM,
        31),
    BAD("v2 another byte than the checksum's",
        V2(PROXY_4, "\x00\x13") "\xc0\x00\x02\x02\xc6\x33\x64\x02\xdc\x04\x01\xbb"
                                "\x03\x00\x04"
                                "\x20\xec\x95\x49",
        CHECKSUM, 31),
    BAD("v2 LOCAL with a wrong checksum",
        V2("\x20\x00", "\x00\x07") "\x03\x00\x04"
                                   "wxyz",
        CHECKSUM, 19),
    BAD("v2 a unique ID of 129 bytes", V2(PROXY_4, "\x00\x90") IPV4 "\x05\x00\x81" X_128 "x",
        UNIQUE_ID, 28),
};

const proxy_vector *proxy_vector_at(size_t index) {
    return index < sizeof vectors / sizeof vectors[0] ? &vectors[index] : NULL;
}
