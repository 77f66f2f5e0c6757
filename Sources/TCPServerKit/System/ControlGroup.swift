// SPDX-License-Identifier: Apache-2.0

/// The control groups of this process: the folder of a controller in each of them.
enum ControlGroup {
  enum Version {
    /// A hierarchy for each controller.
    case one
    /// One hierarchy for all.
    case two
  }

  struct Folder {
    let version: Version
    let path: String
  }

  /// The folders of a controller, those of the groups above included. A container may be given the host's path, of
  /// which only the root is there.
  ///
  /// - Parameters:
  ///   - controller: such as "cpu".
  ///   - root: where the system's files are; only a test has its own.
  /// - Returns: why they are not known, where that is so.
  static func folders(of controller: String, root: String) -> Result<[Folder], KernelFile.Unreadable> {
    KernelFile.text("/proc/self/cgroup", root: root).map { text in
      text.split(separator: "\n").flatMap { line in
        // Hierarchy, controllers, path; version 2 is hierarchy 0, without controllers.
        let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard fields.count == 3 else { return [Folder]() }
        if fields[0] == "0" { return folders(.two, "/sys/fs/cgroup", fields[2]) }
        guard fields[1].split(separator: ",").contains(Substring(controller)) else { return [] }
        return folders(.one, "/sys/fs/cgroup/" + controller, fields[2])
      }
    }
  }

  private static func folders(_ version: Version, _ mount: String, _ path: Substring) -> [Folder] {
    var parts = path.split(separator: "/")
    var found = [Folder(version: version, path: mount)]
    while !parts.isEmpty {
      found.append(Folder(version: version, path: mount + "/" + parts.joined(separator: "/")))
      parts.removeLast()
    }
    return found
  }
}
