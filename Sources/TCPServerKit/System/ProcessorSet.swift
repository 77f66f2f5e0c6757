// SPDX-License-Identifier: Apache-2.0

internal import CLibevent

/// The processors that this process may use.
enum ProcessorSet {
  /// What the kernel takes at most, a bit for each processor.
  private static let maskBytes = 128

  /// The numbers of those that the calling thread may run on; empty where the kernel does not say.
  static func allowed() -> [Int] {
    var mask = [UInt8](repeating: 0, count: maskBytes)
    guard unsafe clibevent_get_affinity(0, UInt(maskBytes), &mask) >= 0 else { return [] }
    return (0..<maskBytes * 8).filter { mask[$0 / 8] & 1 << UInt8($0 % 8) != 0 }
  }

  /// Has the calling thread run on these processors only.
  ///
  /// - Returns: false where the kernel refuses.
  @discardableResult
  static func pinThread(to cpus: [Int]) -> Bool {
    var mask = [UInt8](repeating: 0, count: maskBytes)
    for cpu in cpus where mask.indices.contains(cpu / 8) {
      mask[cpu / 8] |= 1 << UInt8(cpu % 8)
    }
    return unsafe clibevent_set_affinity(0, UInt(maskBytes), mask) == 0
  }

  /// How many processors' time the process may use: those that it may run on, or fewer where a control group has a quota.
  /// At least 1.
  ///
  /// - Parameter root: where the system's files are; only a test has its own.
  static func usableCount(root: String = "") -> Int {
    let count = max(allowed().count, 1)
    guard let quota = quota(root) else { return count }
    return max(min(count, Int(quota.rounded(.up))), 1)
  }

  // MARK: - Control groups

  /// The least quota of the process's control groups and those above them, in processors; nil for none.
  private static func quota(_ root: String) -> Double? {
    let lines = SystemCalls.contents(of: root + "/proc/self/cgroup").split(separator: "\n")
    let quotas = lines.flatMap { line in
      // Hierarchy, controllers, path; version 2 is hierarchy 0, without controllers.
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { return [Double]() }
      let path = String(fields[2])
      if fields[0] == "0" { return all(above: path) { quotaOfVersion2(root + "/sys/fs/cgroup" + $0) } }
      guard fields[1].split(separator: ",").contains("cpu") else { return [] }
      return all(above: path) { quotaOfVersion1(root + "/sys/fs/cgroup/cpu" + $0) }
    }
    return quotas.min()
  }

  /// In a container a path may be the host's, of which only the root is there.
  private static func all(above path: String, _ quota: (String) -> Double?) -> [Double] {
    var parts = path.split(separator: "/")
    var found = [quota("")]
    while !parts.isEmpty {
      found.append(quota("/" + parts.joined(separator: "/")))
      parts.removeLast()
    }
    return found.compactMap { $0 }
  }

  private static func quotaOfVersion2(_ folder: String) -> Double? {
    let words = SystemCalls.contents(of: folder + "/cpu.max").split { $0 == " " || $0 == "\n" }
    guard words.count == 2 else { return nil }
    return quotient(words[0], words[1])
  }

  private static func quotaOfVersion1(_ folder: String) -> Double? {
    func number(_ file: String) -> Substring {
      SystemCalls.contents(of: folder + "/" + file).split(separator: "\n").first ?? ""
    }
    return quotient(number("cpu.cfs_quota_us"), number("cpu.cfs_period_us"))
  }

  /// Nil for "max" and -1, which mean that there is none.
  private static func quotient(_ quota: Substring, _ period: Substring) -> Double? {
    guard let quota = Double(quota), let period = Double(period), quota > 0, period > 0 else { return nil }
    return quota / period
  }
}
