//! Throw-away etcd servers.

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Secrets;

/// How long etcd may take from its start to its first answer.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often an answer is looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Another process may take a free port before etcd does; then others are tried, this often.
const PORT_ATTEMPTS: usize = 5;

/// The members of one etcd cluster, on ports of loopback that were free.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
    secrets: Option<Secrets>,
    /// Whether it asks for the password.
    has_users: bool,
}

#[derive(Debug)]
struct Member {
    child: Option<Child>,
    client: String,
    arguments: Vec<String>,
    folder: TempDir,
}

impl Etcd {
    /// One that has one member.
    pub fn start() -> Etcd {
        Self::start_members(1)
    }

    /// One that asks for a certificate, a user and a password.
    ///
    /// # Panics
    /// As [`Etcd::start_members`], or if it does not take the password.
    pub fn start_secured() -> Etcd {
        let mut etcd = Self::start_with(1, Some(Secrets::new()));
        etcd.ctl(&["user", "add", &format!("{}:{}", Secrets::USER, Secrets::PASSWORD)]);
        etcd.ctl(&["user", "grant-role", Secrets::USER, "root"]);
        etcd.ctl(&["auth", "enable"]);
        etcd.has_users = true;
        etcd
    }

    /// One with so many members.
    ///
    /// # Panics
    /// If etcd is not installed, or does not answer in time.
    pub fn start_members(count: usize) -> Etcd {
        Self::start_with(count, None)
    }

    fn start_with(count: usize, mut secrets: Option<Secrets>) -> Etcd {
        let scheme = if secrets.is_some() { "https" } else { "http" };
        let files: Vec<(&str, String)> = secrets.iter().flat_map(server_files).collect();
        for _ in 0..PORT_ATTEMPTS {
            let members = (0..count).map(|_| Member::new(scheme)).collect();
            let mut etcd = Etcd { members, secrets: secrets.take(), has_users: false };
            let peers: Vec<String> = etcd.members.iter().map(|_| format!("http://127.0.0.1:{}", free_port())).collect();
            let initial: Vec<String> = peers.iter().enumerate().map(|(index, url)| format!("m{index}={url}")).collect();
            for (index, member) in etcd.members.iter_mut().enumerate() {
                let folder = member.folder.path().display().to_string();
                let arguments = [
                    ("--name", &*format!("m{index}")),
                    ("--data-dir", &*format!("{folder}/data")),
                    ("--listen-client-urls", &*member.client),
                    ("--advertise-client-urls", &*member.client),
                    ("--listen-peer-urls", &*peers[index]),
                    ("--initial-advertise-peer-urls", &*peers[index]),
                    ("--initial-cluster", &*initial.join(",")),
                    ("--log-level", "error"),
                ];
                let files = files.iter().map(|(name, value)| (*name, value.as_str()));
                let arguments = arguments.into_iter().chain(files);
                member.arguments = arguments.flat_map(|(name, value)| [name.to_owned(), value.to_owned()]).collect();
                if etcd.secrets.is_some() {
                    member.arguments.push("--client-cert-auth".to_owned());
                }
                member.start();
            }
            if etcd.wait() {
                return etcd;
            }
            secrets = etcd.secrets.take();
        }
        panic!("etcd does not start on any of {PORT_ATTEMPTS} pairs of ports");
    }

    /// The URLs of all members, with commas between.
    pub fn endpoints(&self) -> String {
        self.members.iter().map(|member| member.client.as_str()).collect::<Vec<_>>().join(",")
    }

    /// What it asks for, if it does.
    pub fn secrets(&self) -> Option<&Secrets> {
        self.secrets.as_ref()
    }

    /// Runs `etcdctl`; its standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.try_ctl(arguments);
        assert!(status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("etcdctl prints text")
    }

    /// Kills a member.
    pub fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Starts a member again that was killed, with the data that it had.
    pub fn restart(&mut self, member: usize) {
        self.members[member].start();
        assert!(self.wait(), "etcd does not come back");
    }

    /// Sends a signal to a member by its name, such as `STOP`.
    pub fn signal(&self, member: usize, name: &str) {
        let child = self.members[member].child.as_ref().expect("it runs");
        let sent = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "cannot send {name} to etcd, pid {}", child.id());
    }

    /// Which member leads the others.
    pub fn leader(&self) -> usize {
        let status = self.ctl(&["endpoint", "status", "--write-out", "fields"]);
        let (mut ids, mut leader) = (Vec::new(), "");
        for line in status.lines() {
            match line.split_once(" : ") {
                Some(("\"MemberID\"", id)) => ids.push(id.trim()),
                Some(("\"Leader\"", id)) => leader = id.trim(),
                _ => {}
            }
        }
        ids.iter().position(|id| *id == leader).unwrap_or_else(|| panic!("no leader in {status}"))
    }

    fn try_ctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("etcdctl");
        if let Some(secrets) = &self.secrets {
            command.arg("--cacert").arg(secrets.path("authority.pem"));
            command.arg("--cert").arg(secrets.path("client.pem")).arg("--key").arg(secrets.path("client.key"));
        }
        if self.has_users {
            command.arg("--user").arg(format!("{}:{}", Secrets::USER, Secrets::PASSWORD));
        }
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoints(), "--dial-timeout", "1s", "--command-timeout", "2s"])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("etcdctl does not start: {error}; install Debian's etcd-client"))
    }

    /// Waits until it answers; whether it does, and no member has ended.
    fn wait(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < READY_TIMEOUT {
            if self.members.iter_mut().any(Member::has_ended) {
                return false;
            }
            if self.try_ctl(&["endpoint", "health"]).status.success() {
                return true;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        panic!("etcd at {} does not answer within {READY_TIMEOUT:?}", self.endpoints());
    }
}

/// Arguments of a server that asks for certificates.
fn server_files(secrets: &Secrets) -> Vec<(&'static str, String)> {
    let path = |name| secrets.path(name).display().to_string();
    vec![
        ("--cert-file", path("server.pem")),
        ("--key-file", path("server.key")),
        ("--trusted-ca-file", path("authority.pem")),
    ]
}

impl Member {
    fn new(scheme: &str) -> Self {
        Self {
            child: None,
            client: format!("{scheme}://127.0.0.1:{}", free_port()),
            arguments: Vec::new(),
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn start(&mut self) {
        let mut command = Command::new("etcd");
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn();
        self.child =
            Some(child.unwrap_or_else(|error| panic!("etcd does not start: {error}; install Debian's etcd-server")));
    }

    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of loopback that nobody listens on at this moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}
