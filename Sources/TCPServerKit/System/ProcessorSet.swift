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
    guard let quota = try? quota(root).get() else { return count }
    return usable(of: count, quota: quota)
  }

  /// At least 1.
  static func usable(of count: Int, quota: Double) -> Int {
    max(Int(min(quota, Double(count)).rounded(.up)), 1)
  }

  // MARK: - Control groups

  /// The least quota of the process's control groups and those above them, in processors; nil for none.
  static func quota(_ root: String) -> Result<Double?, KernelFile.Unreadable> {
    ControlGroup.folders(of: "cpu", root: root).map { folders in
      folders.compactMap { folder in
        switch folder.version {
        case .one: quotaOfVersion1(folder.path, root)
        case .two: quotaOfVersion2(folder.path, root)
        }
      }
      .min()
    }
  }

  private static func quotaOfVersion2(_ folder: String, _ root: String) -> Double? {
    let text = (try? KernelFile.text(folder + "/cpu.max", root: root).get()) ?? ""
    let words = text.split { $0 == " " || $0 == "\n" }
    guard words.count == 2, let quota = Int(words[0]), let period = Int(words[1]) else { return nil }
    return quotient(quota, period)
  }

  private static func quotaOfVersion1(_ folder: String, _ root: String) -> Double? {
    func number(_ file: String) -> Int {
      (try? KernelFile.number(folder + "/" + file, root: root).get()) ?? -1
    }
    return quotient(number("cpu.cfs_quota_us"), number("cpu.cfs_period_us"))
  }

  /// Nil for "max" and -1, which mean that there is none.
  private static func quotient(_ quota: Int, _ period: Int) -> Double? {
    quota > 0 && period > 0 ? Double(quota) / Double(period) : nil
  }
}
