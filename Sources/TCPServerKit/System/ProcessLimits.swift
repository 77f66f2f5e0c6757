// SPDX-License-Identifier: Apache-2.0

/// What the system lets this process have, as it is now.
struct ProcessLimits {
  typealias Reading<Value> = Result<Value, KernelFile.Unreadable>

  struct Descriptors {
    /// `Int.max` where there is no limit, which Linux has not.
    let soft: Int
    let hard: Int
  }

  struct Memory {
    let limit: Int
    let used: Int
    /// The file with the limit.
    let path: String

    var left: Int { max(limit - used, 0) }
  }

  /// RLIMIT_NOFILE.
  let descriptors: Reading<Descriptors>
  let openDescriptors: Reading<Int>
  let longestAcceptQueue: Reading<Int>
  let halfOpenConnections: Reading<Int>
  let synCookies: Reading<Int>
  /// Whether the kernel gives what waits for a listening socket that closes to another one of the same port.
  let migratesRequests: Reading<Int>
  /// Of the control group that leaves least; nil where none has a limit.
  let memory: Reading<Memory?>
  /// By the affinity of the calling thread.
  let processors: Int
  /// How many processors' time a control group allows; nil for no quota.
  let processorQuota: Reading<Double?>

  /// Reads some ten small files, and counts the open descriptors.
  ///
  /// - Parameter root: where the system's files are; only a test has its own.
  init(root: String = "") {
    descriptors = KernelFile.text("/proc/self/limits", root: root).flatMap(Self.descriptors)
    openDescriptors = Self.count("/proc/self/fd", root: root)
    longestAcceptQueue = KernelFile.number("/proc/sys/net/core/somaxconn", root: root)
    halfOpenConnections = KernelFile.number("/proc/sys/net/ipv4/tcp_max_syn_backlog", root: root)
    synCookies = KernelFile.number("/proc/sys/net/ipv4/tcp_syncookies", root: root)
    migratesRequests = KernelFile.number("/proc/sys/net/ipv4/tcp_migrate_req", root: root)
    memory = Self.memory(root)
    processors = max(ProcessorSet.allowed().count, 1)
    processorQuota = ProcessorSet.quota(root)
  }

  private static func descriptors(in text: String) -> Reading<Descriptors> {
    let name = "Max open files"
    let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
    let words =
      line?.dropFirst(name.count).split(separator: " ").map { $0 == "unlimited" ? .max : Int($0) } ?? []
    guard words.count >= 2, let soft = words[0], let hard = words[1] else {
      return .failure(KernelFile.Unreadable(reason: "/proc/self/limits: no line of \(name)"))
    }
    return .success(Descriptors(soft: soft, hard: hard))
  }

  private static func count(_ path: String, root: String) -> Reading<Int> {
    SystemCalls.entryCount(root + path).mapError {
      KernelFile.Unreadable(reason: "\(path): \($0.text)")
    }
  }

  /// How many descriptors the process may still open; nil where that cannot be read.
  static var descriptorHeadroom: Int? {
    let limit = KernelFile.text("/proc/self/limits", root: "").flatMap(descriptors)
    let open = count("/proc/self/fd", root: "")
    guard let limit = try? limit.get(), let open = try? open.get() else { return nil }
    return max(limit.soft - open, 0)
  }

  // MARK: - Memory

  private static func memory(_ root: String) -> Reading<Memory?> {
    ControlGroup.folders(of: "memory", root: root).flatMap { folders in
      var least: Memory?
      var hasRead = false
      var failure = KernelFile.Unreadable(reason: "/proc/self/cgroup: no group")
      for folder in folders {
        switch memory(in: folder, root) {
        case .success(let memory):
          hasRead = true
          if let memory, memory.left < least?.left ?? .max { least = memory }
        case .failure(let reason):
          guard reason.isMissing else { return .failure(reason) }
          failure = reason
          // The topmost group of version 2 has no such file, nor has one whose memory is not counted.
          if folder.version == .two, isMounted(root) { hasRead = true }
        }
      }
      return hasRead ? .success(least) : .failure(failure)
    }
  }

  private static func isMounted(_ root: String) -> Bool {
    if case .success = KernelFile.text("/sys/fs/cgroup/cgroup.controllers", root: root) {
      true
    } else {
      false
    }
  }

  /// Nil where the group has no limit.
  private static func memory(in folder: ControlGroup.Folder, _ root: String) -> Reading<Memory?> {
    let isTwo = folder.version == .two
    let limitPath = folder.path + (isTwo ? "/memory.max" : "/memory.limit_in_bytes")
    let usedPath = folder.path + (isTwo ? "/memory.current" : "/memory.usage_in_bytes")
    // Version 1 has a number of pages that no machine has.
    let largest = 1 << 60
    return KernelFile.text(limitPath, root: root).flatMap { text in
      if text.hasPrefix("max") { return .success(nil) }
      return KernelFile.number(limitPath, root: root).flatMap { limit in
        if limit >= largest { return .success(nil) }
        return KernelFile.number(usedPath, root: root)
          .map { Memory(limit: limit, used: $0, path: limitPath) }
          .mapError { KernelFile.Unreadable(reason: $0.reason) }
      }
    }
  }
}
