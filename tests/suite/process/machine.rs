//! A machine of the tests' own, for documents that are followed to the letter: programs that need rights or a running
//! systemd are stood in for by scripts that know what the documents ask of them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The files are the test's, so nobody becomes another user here; who it would be is kept in `MACHINE_USER`. An editor is the
/// program `editor` of the tests.
const SUDO: &str = r#"#!/bin/sh
export MACHINE_USER=root
while [ "${1#-}" != "$1" ]; do
    case $1 in
    -u) export MACHINE_USER=$2; shift 2 ;;
    --edit) shift; exec editor "$@" ;;
    *) shift ;;
    esac
done
exec "$@"
"#;

/// The program, for those who may. The data directory is `artifact`'s alone (0700): whoever types a command is kept out, and
/// root would leave files there that the service cannot open.
const ARTIFACT: &str = r#"#!/bin/sh
case "$*" in
*DATA*)
    if [ "${MACHINE_USER:-somebody}" != artifact ]; then
        echo "artifact $*: DATA: Permission denied: this is ${MACHINE_USER:-somebody} and not artifact" >&2
        exit 1
    fi
    ;;
esac
exec BINARY "$@"
"#;

/// The journal, for root and its group.
const JOURNALCTL: &str =
    "#!/bin/sh\n[ \"${MACHINE_USER:-}\" = root ] || { echo 'No journal files were opened' >&2; exit 1; }\n";

/// `install`, without giving files away.
const INSTALL: &str = "#!/bin/sh\nset -e\nfor argument do\n  shift\n  case $argument in\n    --owner | --group) skip=1; continue ;;\n  \
    esac\n  if [ \"${skip:-}\" ]; then skip=; continue; fi\n  set -- \"$@\" \"$argument\"\ndone\nexec /usr/bin/install \"$@\"\n";

/// Knows the units of this project, and those of Debian's Prometheus. What a `oneshot` unit starts is read from the unit.
const SYSTEMCTL: &str = r#"#!/bin/sh
set -e
verb=$1
shift
case $verb in
start | stop | restart | daemon-reload) [ "${MACHINE_USER:-}" = root ] || { echo "systemctl $verb $*: Access denied" >&2; exit 1; } ;;
esac
for unit in "$@"; do
    case "$verb $unit" in
    *' --'*) ;;
    'stop artifact.socket' | 'start artifact.socket') ;;
    'stop artifact.service')
        pid=$(cat TOOLS/pid)
        kill "$pid"
        # One that has ended and that nobody has asked about has ended.
        while kill -0 "$pid" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.05; done
        ;;
    'start artifact.service')
        MACHINE_USER=artifact TOOLS/serve >TOOLS/out 2>&1 &
        echo $! >TOOLS/pid
        while ! grep -q listening TOOLS/out; do
            kill -0 "$(cat TOOLS/pid)"
            sleep 0.05
        done
        ;;
    'restart artifact')
        TOOLS/systemctl stop artifact.service
        TOOLS/systemctl start artifact.service
        ;;
    'status artifact') kill -0 "$(cat TOOLS/pid)" ;;
    'start artifact-backup.service' | 'start artifact-restore-drill.service')
        line=$(sed -n 's|^ExecStart=/usr/local/bin/||p' "UNITS/$unit" | sed PATHS)
        (export MACHINE_USER=artifact && eval "$line")
        ;;
    'start artifact-'*.timer | 'list-timers artifact-*') ls UNITS/artifact-*.timer ;;
    'restart prometheus' | 'restart prometheus-alertmanager') "TOOLS/$unit" ;;
    *)
        echo "systemctl $verb $unit" >&2
        exit 1
        ;;
    esac
done
"#;

/// The machine.
pub(super) struct Machine {
    tools: PathBuf,
    /// What paths of the documents are here.
    paths: Vec<(String, String)>,
}

impl Machine {
    /// One whose service is started by `serve`, a line of shell, and whose paths are these.
    pub(super) fn new(tools: &Path, serve: &str, units: &Path, paths: Vec<(String, String)>) -> Self {
        std::fs::create_dir_all(tools).unwrap();
        let machine = Self { tools: tools.to_path_buf(), paths };
        let rules = machine.paths.iter().map(|(from, to)| format!("-e 's|{from}|{to}|g'"));
        let systemctl = SYSTEMCTL
            .replace("TOOLS", &tools.display().to_string())
            .replace("UNITS", &units.display().to_string())
            .replace("PATHS", &rules.collect::<Vec<_>>().join(" "));
        machine.tool("systemctl", &systemctl);
        machine.tool("sudo", SUDO);
        machine.tool("install", INSTALL);
        machine.tool("apt-get", "#!/bin/sh\n");
        machine.tool("serve", &format!("#!/bin/sh\nexec {serve}\n"));
        machine.tool("journalctl", JOURNALCTL);
        let data = machine.script(&["/var/lib/artifact".to_owned()]);
        let program = ARTIFACT.replace("BINARY", env!("CARGO_BIN_EXE_artifact"));
        machine.tool("artifact", &program.replace("DATA", &data));
        machine
    }

    /// Puts a program there.
    pub(super) fn tool(&self, name: &str, script: &str) {
        let path = self.tools.join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Says which process the service is.
    pub(super) fn runs(&self, pid: u32) {
        std::fs::write(self.tools.join("pid"), pid.to_string()).unwrap();
    }

    /// The process of the service.
    pub(super) fn pid(&self) -> u32 {
        std::fs::read_to_string(self.tools.join("pid")).unwrap().trim().parse().unwrap()
    }

    /// What the service it started has said.
    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(self.tools.join("out")).unwrap()
    }

    /// Lines of a document as they are run here.
    pub(super) fn script(&self, lines: &[String]) -> String {
        let here = |line: &String| {
            self.paths.iter().fold(line.clone(), |line, (from, to)| line.replace(from.as_str(), to))
        };
        lines.iter().map(here).collect::<Vec<_>>().join("\n")
    }

    /// Runs them in one shell, which ends with the first that fails.
    pub(super) fn run(&self, script: &str, folder: &Path, environment: &[(&str, &str)]) -> Output {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-e", "-c", script]).current_dir(folder).env_clear();
        shell.env("PATH", format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", self.tools.display()));
        shell.env("TMPDIR", folder).envs(environment.iter().copied());
        shell.stdin(Stdio::null()).output().unwrap()
    }
}

/// The lines of the blocks of commands below a heading of a document, block by block; up to the next heading of its kind.
pub(super) fn blocks(page: &str, heading: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (mut found, mut below, mut inside): (Vec<Vec<String>>, _, _) = (Vec::new(), false, false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("## ") {
            below = line == format!("## {heading}");
        }
        match (line, inside) {
            ("```sh", false) if below => {
                found.push(Vec::new());
                inside = true;
            }
            ("```", true) => inside = false,
            (line, true) => found.last_mut().unwrap().push(line.to_owned()),
            _ => {}
        }
    }
    assert!(!found.is_empty() && !inside, "{page} has no commands below `{heading}`");
    found
}
