// @ts-check
import { existsSync, readFileSync } from "node:fs";

/** The command that installs system packages here, by their Debian names. @param {string} names */
export function install(names) {
  const system = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  const kin = (system.match(/^ID(?:_LIKE)?=.*$/gm) ?? []).join(" ");
  if (/fedora|rhel|centos|suse/.test(kin)) {
    return `sudo ${/suse/.test(kin) ? "zypper" : "dnf"} install ${names.replace(/g\+\+/, "gcc-c++")}`;
  }
  if (/arch/.test(kin))
    return `sudo pacman -S ${names
      .replace(/g\+\+/, "gcc")
      .replace("python3-pip", "python-pip")
      .replace(/python3\b/, "python")}`;
  return `sudo apt-get install -y ${names}`;
}
