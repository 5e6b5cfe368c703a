//! A peer's process: it logs into a file, which a failed start shows, and ends with the test process.
//!
//! All peers of a test process live below one directory. A shell watches that process by a pipe whose
//! other end only it holds: at the end of file, however the process ended, the shell ends every peer
//! whose `pid` file is there, and removes the directory. (A parent-death signal would come when the
//! *thread* that started the peer ends: at the end of a test.)

use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::net::TcpStream;

use crate::wait::until;

/// Debian's account for programs that refuse to run as root.
const ACCOUNT: &str = "postgres";

/// Ends what is listed in the `pid` files below its first argument once its input ends. A line of input
/// never comes. What ignores its signal for five seconds is killed.
const WATCH: &str = r#"
trap '' HUP INT QUIT TERM
read -r line
each() { for file in "$0"/*/pid; do [ -e "$file" ] && read -r signal pid <"$file" && "$1"; done; }
end() { kill -"$signal" "$pid"; kill -CONT "$pid"; }
wait_for() { tries=0; while [ -e "/proc/$pid/exe" ] && [ $tries -lt 100 ]; do sleep 0.05; tries=$((tries + 1)); done; }
kill_it() { [ ! -e "/proc/$pid/exe" ] || kill -s KILL "$pid"; }
each end; each wait_for; each kill_it
rm -rf "$0"
"#;

/// Names its own process before it becomes the program. Debian has servers in /usr/sbin, which is not in
/// the PATH of ordinary users.
const START: &str = r#"PATH="$PATH:/usr/sbin"; echo "$1 $$" >"$0"; shift; exec "$@""#;

/// The directory of one peer, removed on drop or with the test process.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Creates the directory; `kind` begins its name. It is short enough for a Unix socket in it.
    pub fn new(kind: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let path = root().join(format!("{kind}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).expect("a directory");
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that the programs in it have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path.join("log")).unwrap_or_default()
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What is left goes with the test process.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// A running program. Ended on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    pid_file: PathBuf,
    end_signal: Signal,
}

impl Process {
    /// Starts a program that logs into `log` in its home. It gets `end_signal` on drop, and when the
    /// test process ends. One program at a time runs in a home.
    pub fn spawn(home: &Home, command: &Command, end_signal: Signal) -> Self {
        let (log, pid_file) = (home.path.join("log"), home.path.join("pid"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log file");
        let mut started = Command::new("sh");
        started
            .args(["-c", START])
            .arg(&pid_file)
            .arg(end_signal.as_raw().to_string())
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            // A signal to the tests' group, such as that of Ctrl-C, is not for the peers.
            .process_group(0);
        for (name, value) in command.get_envs() {
            started.env(name, value.unwrap_or_default());
        }
        Self {
            child: started.spawn().expect("a shell"),
            name: home.name(),
            log,
            pid_file,
            end_signal,
        }
    }

    /// Runs a program to its end; panics with its log if it fails.
    pub async fn run(home: &Home, command: &Command) {
        let mut process = Self::spawn(home, command, Signal::KILL);
        let status = process.ended().await;
        assert!(status.success(), "{}", process.failure(status));
    }

    /// The process id.
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).expect("a process of ours");
    }

    /// Waits until the process exits.
    pub async fn ended(&mut self) -> ExitStatus {
        until(&format!("{} ends", self.name), async || self.exited()).await
    }

    /// Waits until the program serves a TCP port; panics with its log if it exits instead.
    pub async fn until_listening(&mut self, address: SocketAddr) {
        self.until_ready(async || TcpStream::connect(address).await.ok().map(drop))
            .await;
    }

    /// Waits until `ask` returns something; panics with the log if the program exits before.
    pub async fn until_ready(&mut self, mut ask: impl AsyncFnMut() -> Option<()>) {
        until(&format!("{} is ready", self.name), async || {
            if let Some(status) = self.exited() {
                panic!("{}", self.failure(status));
            }
            ask().await
        })
        .await;
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    fn failure(&self, status: ExitStatus) -> String {
        let (name, log) = (&self.name, fs::read_to_string(&self.log).unwrap_or_default());
        format!("{name}: {status} (tests/run.sh installs what the tests use)\n{log}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The id may belong to another process as soon as this one is waited for.
        drop(fs::remove_file(&self.pid_file));
        if self.exited().is_none() {
            self.signal(self.end_signal);
            // A test may have stopped it.
            self.signal(Signal::CONT);
            drop(self.child.wait());
        }
    }
}

/// Whether a process runs. One that has ended and is not waited for, as under an init that does not, has
/// no program any more.
pub(crate) fn is_running(process: Pid) -> bool {
    fs::read_link(format!("/proc/{}/exe", process.as_raw_nonzero())).is_ok()
}

/// A command of `program`, by an ordinary account where the tests run as root.
pub(crate) fn as_ordinary_user(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            format!("--reuid={ACCOUNT}"),
            format!("--regid={ACCOUNT}"),
            "--clear-groups".to_owned(),
        ])
        .arg(program);
    command
}

/// Gives a file or directory to the account of [`as_ordinary_user`].
pub(crate) fn give_to_ordinary_user(path: &Path) {
    if geteuid().is_root() {
        let status = Command::new("chown").arg(format!("{ACCOUNT}:")).arg(path).status();
        assert!(
            status.expect("chown").success(),
            "no account {ACCOUNT}: tests/run.sh installs PostgreSQL"
        );
    }
}

/// The directory of all homes of this test process, and the shell that watches the process.
fn root() -> &'static Path {
    static ROOT: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (path, _) = ROOT.get_or_init(|| {
        let path = tempfile::Builder::new()
            .prefix("linkseal-peers-")
            // Other accounts reach their own directory, and cannot list the others.
            .permissions(Permissions::from_mode(0o711))
            .tempdir()
            .expect("a directory")
            .keep();
        let watch = Command::new("sh")
            .args(["-c", WATCH])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        // With its input, which stays open as long as this process lives.
        (path, watch)
    });
    path
}
