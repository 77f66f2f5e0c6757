// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

extension ProxyHeader {
  /// What a proxy says of the client's TLS. Texts are bytes as the proxy sent them, nil where it did not say.
  public struct TLS: Hashable, Sendable {
    /// The version, such as `TLSv1.3`.
    public let version: [UInt8]?
    /// The cipher, such as `TLS_AES_128_GCM_SHA256`.
    public let cipher: [UInt8]?
    /// The common name in the client's certificate.
    public let commonName: [UInt8]?
    /// Whether the client connected over TLS.
    public let isTLS: Bool
    /// Whether the client gave a certificate, in this session or the resumed one.
    public let hasCertificate: Bool
    /// Whether it gave a certificate and the proxy found that valid.
    public let isVerified: Bool
  }

  /// The protocol that the client negotiated (ALPN), such as `h2`; nil where the header does not say.
  public var alpn: [UInt8]? {
    value(of: CSC_PROXY_TLV_ALPN)
  }

  /// The name of the host that the client asked for (SNI), as bytes; nil where the header does not say.
  public var authority: [UInt8]? {
    value(of: CSC_PROXY_TLV_AUTHORITY)
  }

  /// The proxy's name of the connection, 128 bytes at most; nil where the header does not say.
  public var uniqueID: [UInt8]? {
    value(of: CSC_PROXY_TLV_UNIQUE_ID)
  }

  /// What the header says of the client's TLS; nil where it says nothing, or that is malformed.
  public var tls: TLS? {
    unsafe read(CSC_PROXY_TLV_TLS) { tlvs in
      var core = unsafe csc_proxy_tls()
      guard unsafe csc_proxy_tls_read(tlvs, &core) else { return nil }
      return unsafe TLS(
        version: Self.text(core.version),
        cipher: Self.text(core.cipher),
        commonName: Self.text(core.common_name),
        isTLS: core.is_tls,
        hasCertificate: core.has_certificate,
        isVerified: core.is_verified
      )
    }
  }

  /// The ID of the VPC endpoint through which a client of Amazon's Network Load Balancer came; nil where there is none.
  public var awsVPCEndpoint: String? {
    unsafe read(CSC_PROXY_TLV_AWS) { tlvs in
      var core = unsafe csc_proxy_bytes()
      guard unsafe csc_proxy_aws_vpc_endpoint(tlvs, &core) else { return nil }
      return unsafe String(decoding: Array(core), as: UTF8.self)
    }
  }

  /// The link ID of the private endpoint of Azure's Private Link; nil where there is none.
  public var azureLinkID: UInt32? {
    unsafe read(CSC_PROXY_TLV_AZURE) { tlvs in
      var value: UInt32 = 0
      return unsafe csc_proxy_azure_link_id(tlvs, &value) ? value : nil
    }
  }

  /// The connection ID of Google Cloud's Private Service Connect; nil where there is none.
  public var gcpConnectionID: UInt64? {
    unsafe read(CSC_PROXY_TLV_GCP) { tlvs in
      var value: UInt64 = 0
      return unsafe csc_proxy_gcp_connection_id(tlvs, &value) ? value : nil
    }
  }

  /// The first value of a type.
  private func value(of type: csc_proxy_tlv_type) -> [UInt8]? {
    tlvs.first { $0.type == UInt8(type.rawValue) }?.value
  }

  /// Gives the first TLV of a type to what the core reads it by.
  private func read<Value>(_ type: csc_proxy_tlv_type, _ body: (csc_proxy_bytes) -> Value?) -> Value? {
    guard let value = value(of: type), let count = UInt16(exactly: value.count) else { return nil }
    let bytes = [UInt8(type.rawValue), UInt8(count >> 8), UInt8(count & 0xff)] + value
    return unsafe bytes.withUnsafeBufferPointer { bytes in
      unsafe body(csc_proxy_bytes(start: bytes.baseAddress, count: bytes.count))
    }
  }

  private static func text(_ bytes: csc_proxy_bytes) -> [UInt8]? {
    unsafe bytes.start == nil ? nil : Array(bytes)
  }
}
