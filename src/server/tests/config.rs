//! Configuration and preflight: what is refused and how, what wins, and what is printed.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use larder_server::limits;
use larder_server::preflight::cores_allowed;
use rustix::thread::{CpuSet, sched_setaffinity};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// `larder` with nothing of ours in its environment.
fn larder(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LARDER_")) {
        command.env_remove(name);
    }
    command.args(words);
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("larder starts");
    let text = |bytes| String::from_utf8(bytes).expect("larder prints UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// Runs what must be refused, and gives the reason, which may follow warnings.
fn refused(command: &mut Command) -> String {
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, Some(2), "{command:?}\n{stdout}\n{stderr}");
    assert_eq!(stdout, "", "{command:?}: nothing for scripts to misread");
    let mut lines = stderr.lines().rev();
    let reason = lines.next().unwrap_or_default();
    assert!(reason.starts_with("larder: ") && !reason.starts_with("larder: warning: "), "{command:?}\n{stderr}");
    assert!(lines.all(|line| line.starts_with("larder: warning: ")), "{command:?}\n{stderr}");
    reason.to_owned()
}

fn printed(command: &mut Command) -> String {
    let (code, stdout, stderr) = run(command.arg("--print-config"));
    assert_eq!(code, Some(0), "{command:?}\n{stderr}");
    stdout
}

/// The line of `--print-config` that sets a key.
fn line<'a>(printed: &'a str, key: &str) -> &'a str {
    let start = format!("{key} = ");
    printed.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {key} in\n{printed}"))
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder for files"))
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.0.path().join("larder.toml");
        std::fs::write(&path, text).expect("the file can be written");
        path
    }
}

fn with_file(path: &Path, words: &[&str]) -> Command {
    let mut command = larder(&["serve", "--config"]);
    command.arg(path).args(words);
    command
}

#[test]
fn wrong_flags_are_refused_with_name_value_source_and_remedy() {
    for (words, parts) in [
        (&["--memory", "12QB"][..], ["memory = \"12QB\" (from --memory)", "KiB, MiB, GiB"]),
        (&["--memory", "64k"], ["memory = \"64k\" (from --memory)", "write 64KiB"]),
        (&["--memory", ""], ["memory = \"\" (from --memory): it is empty", "write a number of bytes"]),
        (&["--memory", "3MiB", "--shards", "4"], ["too little for 4 shard(s)", "have at least 4MiB (1MiB per shard)"]),
        (&["--cores", "0-"], ["cores = \"0-\" (from --cores)", "such as 0-7,16-23"]),
        (&["--cores", "3-1"], ["the range \"3-1\" runs backwards", "write 1-3"]),
        (&["--cores", "1023"], ["this process may not run on core 1023", "name cores by their numbers, out of "]),
        (&["--cores", "1024"], ["core 1024 is above the highest, 1023", "write numbers and ranges"]),
        (&["--shards", "0"], ["shards = \"0\" (from --shards)", "write 1 to 256"]),
        (&["--shards", "257"], ["shards = \"257\" (from --shards)", "write 1 to 256"]),
        (
            &["--listen", "localhost:7400"],
            ["listen.native = \"localhost:7400\" (from --listen)", "like 127.0.0.1:7400"],
        ),
        (&["--listen", "0.0.0.0:7400"], ["listen.native = \"0.0.0.0:7400\" (from --listen)", "--insecure"]),
        (&["--listen", "0.0.0.0:7400", "--insecure=false"], ["other machines can reach", "listen on 127.0.0.1:7400"]),
        (&["--insecure=yes"], ["insecure = \"yes\" (from --insecure)", "write true or false"]),
        (&["--advertise", "10.0.0.7"], ["cluster.advertise = \"10.0.0.7\" (from --advertise)", "write host:port"]),
        (&["--node-id", "a b"], ["cluster.node_id = \"a b\" (from --node-id)", "visible ASCII"]),
        (&["--cluster", "a/b"], ["cluster.name = \"a/b\" (from --cluster)", "ASCII letters"]),
        (&["--seed", "-1"], ["cluster.seed = \"-1\" (from --seed)", "write a number"]),
        (&["--value-max", "65MiB"], ["limits.value_max = \"65MiB\" (from --value-max)", "write 1 to 64MiB"]),
        (
            &["--connections-max", "0"],
            ["limits.connections_max = \"0\" (from --connections-max)", "write 1 to 1048576"],
        ),
        (&["--request-timeout", "10"], ["limits.request_timeout = \"10\" (from --request-timeout)", "such as 500ms"]),
        (&["--stop-timeout", "2h"], ["limits.stop_timeout = \"2h\" (from --stop-timeout)", "write 0ms to 1h"]),
        (&["--memcache", "on"], ["(from --memcache)", "like 127.0.0.1:7400"]),
        (&["--resp", "on"], ["(from --resp)", "like 127.0.0.1:7400"]),
        (&["--http", "on"], ["(from --http)", "like 127.0.0.1:7400"]),
        (&["--etcd-user", "larder"], ["this node has no etcd", "leave it out"]),
        (
            &["--peers", "10.0.0.1:7400,10.0.0.2:7400"],
            ["(from --peers): this node is not among them", "add \"127.0.0.1:7400\""],
        ),
        (
            &["--config", "/nowhere/larder.toml"],
            ["/nowhere/larder.toml (from --config): No such file", "name a readable"],
        ),
    ] {
        for mode in ["--check-config", "--print-config"] {
            let said = refused(larder(&["serve", mode]).args(words));
            assert!(parts.iter().all(|part| said.contains(part)), "{words:?}\n{said}\n{parts:?}");
        }
        let said = refused(larder(&["serve"]).args(words));
        assert!(parts.iter().all(|part| said.contains(part)), "before serving: {words:?}\n{said}");
    }
}

#[test]
fn wrong_files_are_refused_with_the_line() {
    let folder = Folder::new();
    for (text, line, parts) in [
        ("\nmemroy = \"1GiB\"", 2, ["there is no setting \"memroy\"", "did you mean \"memory\"?"]),
        ("[listen]\n\nnativ = 1", 3, ["there is no setting \"listen.nativ\"", "did you mean \"listen.native\"?"]),
        ("[[group]]\nname = 'a'\npolcy = 'lru'", 3, ["\"group.polcy\"", "did you mean \"group.policy\"?"]),
        ("memory = \"1GiB", 1, ["", "correct the TOML there"]),
        ("memory = 1.5", 1, ["a number with a fraction cannot be its value", "whole number"]),
        ("[listen]\nmemcache = \"0.0.0.0\"", 2, ["listen.memcache", "like 127.0.0.1:7400"]),
        ("[cluster]\netcd = [\"ftp://10.0.0.1:2379\"]", 2, ["is no address of an etcd server", "write http://"]),
        ("[cluster]\npeers = [\"a\"]", 2, ["cluster.peers = \"a\"", "write [id=]host:port[*weight] for each node"]),
        (
            "[[group]]\nname = 'a'\nmemory = '1MiB'\n[group.origin]\nurl = 'http://b/c'",
            4,
            ["the origin of group \"a\" = \"http://b/c\"", "it has no {key}"],
        ),
        ("[[group]]\nname = 'a'", 2, ["group.name = \"a\"", "it has no memory: write a size"]),
        ("[[group]]\nmemory = 1", 1, ["it has no name", "write name ="]),
        ("[[group]]\nname = 'a'\nmemory = '1k'", 3, ["memory of group \"a\" = \"1k\"", "write 1KiB"]),
        ("[[group]]\nname = 'a'\nmemory = '101%'", 3, ["it is more than 100%", "such as 25%"]),
        (
            "[[group]]\nname = 'a'\nmemory = '1MiB'\npolicy = 'best'",
            4,
            ["policy of group \"a\"", "choose one of fifo, lru, lfu, lru_k"],
        ),
        ("[[group]]\nname = 'a'\nmemory = '1MiB'\nttl = '10'", 4, ["ttl of group \"a\"", "such as 500ms or 10m"]),
        (
            "[[group]]\nname = 'a'\nmemory = '1MiB'\nttl = '10s'\nttl_jitter = '60%'",
            5,
            ["ttl_jitter of group \"a\" = \"60%\"", "it is more than 50%: write a whole percentage up to 50%"],
        ),
        (
            "[[group]]\nname = 'a'\nmemory = '1MiB'\nttl_jitter = '10%'",
            4,
            ["ttl_jitter of group \"a\"", "the group has no ttl that it could spread: give the group a ttl"],
        ),
        (
            "memory = '8MiB'\n[[group]]\nname = 'a'\nmemory = '6MiB'\n[[group]]\nname = 'b'\nmemory = '50%'",
            1,
            ["memory = \"8MiB\"", "6MiB (a) + 4MiB (b) = 10MiB: give the groups less, or raise the memory"],
        ),
    ] {
        let path = folder.file(text);
        let said = refused(&mut with_file(&path, &["--check-config", "--shards", "1"]));
        let place = format!("{}:{line}", path.display());
        assert!(said.contains(&place), "{text}\n{said}\n{place}");
        assert!(parts.iter().all(|part| said.contains(part)), "{text}\n{said}\n{parts:?}");
    }
}

#[test]
fn wrong_environments_are_refused_with_the_variable() {
    for (name, value, part) in [
        ("LARDER_MEMORY", "lots", "memory = \"lots\" (from the environment variable LARDER_MEMORY)"),
        ("LARDER_CORES", "x", "cores = \"x\" (from the environment variable LARDER_CORES)"),
        ("LARDER_ETCD", "10.0.0.1", "is no address of an etcd server"),
        ("LARDER_CONFIG", "/nowhere.toml", "/nowhere.toml (from the environment variable LARDER_CONFIG)"),
    ] {
        let said = refused(larder(&["serve", "--check-config"]).env(name, value));
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn what_clap_refuses_is_status_2_too() {
    for words in [&[][..], &["sevre"], &["serve", "--memroy", "1GiB"], &["serve", "more"], &["serve", "--memory"]] {
        let (code, stdout, stderr) = run(&mut larder(words));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{words:?}\n{stderr}");
        assert!(stderr.contains("--help"), "{words:?}\n{stderr}");
    }
}

#[test]
fn help_and_version_are_answers() {
    for (words, parts) in [
        (&["--version"][..], &[concat!("larder ", env!("CARGO_PKG_VERSION"))][..]),
        (&["--help"], &["Usage: larder <COMMAND>", "larder serve --memory 1GiB"]),
        (&["serve", "--help"], &["--memory <SIZE>", "LARDER_MEMORY", "[[group]]", "Exit status:", "Examples:"]),
    ] {
        let (code, stdout, stderr) = run(&mut larder(words));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words:?}");
        assert!(parts.iter().all(|part| stdout.contains(part)), "{words:?}\n{stdout}");
    }
}

#[test]
fn a_right_configuration_is_said_to_be_right() {
    for words in [&[][..], &["--resp", "off", "--memcache", "off", "--http", "off"], &["--memory", "1GiB"]] {
        let (code, stdout, stderr) = run(larder(&["serve", "--check-config"]).args(words));
        assert_eq!(
            (code, stdout.as_str(), stderr.as_str()),
            (Some(0), "larder: the configuration is OK\n", ""),
            "{words:?}"
        );
    }
    let (code, _, stderr) = run(&mut larder(&["serve", "--check-config", "--listen", "0.0.0.0:1", "--insecure"]));
    assert_eq!(code, Some(0));
    assert!(stderr.starts_with("larder: warning: whoever can reach 0.0.0.0:1 can read and change"), "{stderr}");
    let (code, _, stderr) = run(&mut larder(&["serve", "--check-config", "--shards", "200"]));
    assert_eq!(code, Some(0));
    assert!(stderr.starts_with("larder: warning: 200 shards share"), "{stderr}");
}

#[test]
fn a_standard_output_that_takes_nothing_is_an_error_and_no_panic() {
    for mode in ["--check-config", "--print-config"] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
        let output = larder(&["serve", mode]).stdout(full).output().expect("larder starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.starts_with("larder: cannot write to standard output: No space left"), "{stderr}");
    }
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let folder = Folder::new();
    let path = folder.file("memory = \"33MiB\"\nshards = 3\n[cluster]\nname = \"from-file\"\n");
    let place = |line: u32| format!("# {}:{line}", path.display());

    let nothing = printed(&mut larder(&["serve"]));
    assert!(line(&nothing, "memory").ends_with("# default"), "{nothing}");
    assert!(line(&nothing, "shards").ends_with("# default: one per core"), "{nothing}");

    let mut command = with_file(&path, &[]);
    let file = printed(&mut command);
    assert!(line(&file, "memory").starts_with("memory = \"33MiB\"") && line(&file, "memory").ends_with(&place(1)));
    assert!(line(&file, "shards").starts_with("shards = 3 ") && line(&file, "shards").ends_with(&place(2)));
    assert!(line(&file, "name").starts_with("name = \"from-file\"") && line(&file, "name").ends_with(&place(4)));

    let mut command = larder(&["serve"]);
    command.env("LARDER_CONFIG", &path).env("LARDER_MEMORY", "44MiB").env("LARDER_SHARDS", "4");
    let environment = printed(&mut command);
    let memory = line(&environment, "memory");
    assert!(memory.starts_with("memory = \"44MiB\"") && memory.ends_with("LARDER_MEMORY"), "{environment}");
    assert!(line(&environment, "shards").starts_with("shards = 4 "), "{environment}");
    assert!(line(&environment, "name").ends_with(&place(4)), "the file that the environment names: {environment}");

    let mut command = with_file(&path, &["--memory", "55MiB"]);
    command.env("LARDER_CONFIG", "/nowhere.toml").env("LARDER_MEMORY", "44MiB").env("LARDER_SHARDS", "4");
    let flags = printed(&mut command);
    let memory = line(&flags, "memory");
    assert!(memory.starts_with("memory = \"55MiB\"") && memory.ends_with("# --memory"), "{flags}");
    assert!(line(&flags, "shards").ends_with("LARDER_SHARDS"), "{flags}");
    assert!(line(&flags, "name").ends_with(&place(4)), "{flags}");
}

#[test]
fn what_is_printed_can_be_fed_back() {
    let folder = Folder::new();
    let path = folder.file(
        "insecure = true\nlisten.native = \"0.0.0.0:7400\"\n\
         [[group]]\nname = \"scores\"\nmemory = \"12.5%\"\npolicy = \"two_q\"\nttl = \"10m\"\nttl_jitter = \"15%\"\n\
         [[group]]\nname = \"default\"\npolicy = \"lru\"\n",
    );
    let mut command = with_file(&path, &["--seed", "0xffffffffffffffff", "--advertise", "larder-0.lan:7400"]);
    let first = printed(command.env("LARDER_MEMORY", "100MB").env("LARDER_REQUEST_TIMEOUT", "250ms"));
    let values = |printed: &str| -> Vec<String> {
        let value = |line: &str| line.split_once(" # ").map_or(line, |(value, _)| value).trim_end().to_owned();
        printed.lines().map(value).collect()
    };
    assert!(values(&first).contains(&"memory = \"12500000B\"".to_owned()), "{first}");
    assert!(values(&first).contains(&"ttl_jitter = \"15%\"".to_owned()), "{first}");
    assert!(values(&first).contains(&"ttl_jitter = \"off\"".to_owned()), "{first}");
    assert!(values(&first).contains(&"seed = \"18446744073709551615\"".to_owned()), "{first}");

    let again = folder.file(&first);
    let second = printed(&mut with_file(&again, &[]));
    assert_eq!(values(&first), values(&second));
    let (code, _, stderr) = run(&mut with_file(&again, &["--check-config"]));
    assert_eq!(code, Some(0), "{stderr}");
}

/// Runs what a process may do only on one core; the right is inherited from the thread.
#[test]
fn only_cores_that_the_process_may_run_on_are_accepted() {
    let allowed = cores_allowed().expect("the system says");
    let ours = allowed[0];
    let other = if ours == 0 { 1 } else { 0 };
    std::thread::spawn(move || {
        let mut cores = CpuSet::new();
        cores.set(ours);
        sched_setaffinity(None, &cores).expect("a thread may give up cores");
        let printed = printed(&mut larder(&["serve"]));
        assert!(line(&printed, "cores").starts_with(&format!("cores = \"{ours}\" ")), "{printed}");
        assert!(line(&printed, "shards").starts_with("shards = 1 "), "{printed}");
        let said = refused(&mut larder(&["serve", "--cores", &other.to_string()]));
        assert!(
            said.contains(&format!("may not run on core {other}: name cores by their numbers, out of {ours} ")),
            "{said}"
        );
    })
    .join()
    .expect("the thread ends well");
}

/// A server that starts on machines with low limits, too.
fn small(address: &str) -> Command {
    larder(&["serve", "--memory", "8MiB", "--shards", "2", "--connections-max", "100", "--listen", address])
}

#[test]
fn a_port_in_use_is_refused() {
    let plain = TcpListener::bind("127.0.0.1:0").expect("a port");
    let sharing = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    sharing.set_reuse_address(true).expect("an option");
    sharing.set_reuse_port(true).expect("an option");
    sharing.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    sharing.listen(1).expect("a listener");
    let sharing_address = sharing.local_addr().expect("it is bound").as_socket().expect("it is IP");

    for address in [plain.local_addr().expect("it is bound"), sharing_address] {
        let said = refused(&mut small(&address.to_string()));
        let expected = format!("the address {address} is in use: stop the server that has it");
        assert!(said.contains(&expected) && said.contains("or choose another"), "{said}");
    }
    let said = refused(small("192.0.2.1:7400").arg("--insecure"));
    assert!(said.contains("this machine does not have the address 192.0.2.1:7400"), "{said}");
}

#[test]
fn where_nobody_asked_for_an_address_it_is_done_without() {
    // Whoever has them otherwise, they are not free.
    let ports = [("resp", 7479), ("memcache", 7411), ("http", 7480)];
    let _taken = ports.map(|(_, port)| TcpListener::bind(("127.0.0.1", port)));
    let mut command = small("127.0.0.1:0");
    let mut server = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("larder starts"));
    let mut line = String::new();
    BufReader::new(server.0.stdout.as_mut().expect("it is piped")).read_line(&mut line).expect("a line");
    let ready: serde_json::Value = serde_json::from_str(&line).expect("it serves");
    server.0.kill().expect("it runs");
    let mut said = String::new();
    server.0.stderr.take().expect("it is piped").read_to_string(&mut said).expect("text");
    for (name, port) in ports {
        assert!(ready["listen"][name].is_null(), "{ready}");
        let warning = format!("warning: listen.{name} is off: the address 127.0.0.1:{port} is in use");
        assert!(said.contains(&warning) && said.contains(&format!("--{name}, or say off")), "{said}");
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().expect("larder starts"))
    }

    /// The first line on standard output; empty if the process ends without one.
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.0.stdout.take().expect("it is asked for once");
        BufReader::new(stdout).read_line(&mut line).expect("larder prints UTF-8");
        line
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn of_servers_that_start_at_once_on_one_port_one_serves() {
    // No client gets an address like this as its own, so the port stays free.
    let free = TcpListener::bind("127.74.0.2:0").expect("a port");
    let address = free.local_addr().expect("it is bound").to_string();
    drop(free);
    let start = || Running::start(&mut small(&address));
    let mut servers: Vec<Running> = (0..3).map(|_| start()).collect();
    let begun = Instant::now();
    let mut refused = 0;
    while servers.len() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} servers on {address}", servers.len());
        servers.retain_mut(|server| match server.0.try_wait().expect("it is our child") {
            Some(status) => {
                assert_eq!(status.code(), Some(2), "refused, not failed");
                refused += 1;
                false
            }
            None => true,
        });
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(refused, 2, "two of three");
    let line = servers[0].first_line();
    assert!(line.contains(&format!("\"native\":\"{address}\"")), "the third serves: {line}");
    let said = self::refused(&mut small(&address));
    assert!(said.contains(&format!("the address {address} is in use")), "{said}");
}

/// Runs larder in a shell that has first lowered its limits.
fn limited(limits: &str, words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limits} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_larder")]).args(words);
    command
}

#[test]
fn too_low_limits_are_refused_with_the_command_that_raises_them() {
    let said = refused(&mut limited("ulimit -n 500", &["serve", "--shards", "1", "--connections-max", "1000"]));
    assert!(said.contains("only 500 files may be open, and 1000 connections need "), "{said}");
    assert!(
        said.contains("`ulimit -n ") && said.contains("LimitNOFILE=") && said.contains("--connections-max "),
        "{said}"
    );
    let said = refused(&mut limited("ulimit -l 511", &["serve", "--shards", "1", "--connections-max", "100"]));
    assert!(said.contains("only 511KiB of memory may be locked") && said.contains("LimitMEMLOCK=524288"), "{said}");

    let (code, stdout, _) = run(&mut limited("ulimit -n 100 && ulimit -l 100", &["serve", "--check-config"]));
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "larder: the configuration is OK\n"),
        "which is not about the machine"
    );
}

#[test]
fn soft_limits_are_raised_as_far_as_needed() {
    let words = ["serve", "--listen", "127.0.0.1:0", "--memory", "8MiB", "--shards", "1", "--connections-max", "1000"];
    let mut server = Running::start(&mut limited("ulimit -S -n 100 && ulimit -S -l 100", &words));
    let line = server.first_line();
    assert!(line.contains("\"ready\":true"), "{line}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.0.id())).expect("it runs");
    let soft = |name: &str| -> u64 {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("every process has the limit");
        line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(u64::MAX)
    };
    assert!(soft("Max open files") > 1000 && soft("Max open files") < 2000, "{limits}");
    assert!(soft("Max locked memory") >= 512 << 10, "{limits}");

    let files = std::fs::read_dir(format!("/proc/{}/fd", server.0.id())).expect("it runs").count() as u64;
    let expected = limits::FILES_BASE + limits::FILES_PER_SHARD;
    assert!(files <= expected, "an idle server of one shard has {files} files open, and reckons with {expected}");
}
