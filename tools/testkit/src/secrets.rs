//! Throw-away keys, certificates and a password.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// Who is let in by a server that asks for a certificate and a password.
#[derive(Debug)]
pub struct Secrets {
    folder: TempDir,
}

impl Secrets {
    /// The only user.
    pub const USER: &str = "root";
    /// Its password.
    pub const PASSWORD: &str = "a pass: word";

    /// Makes an authority, and certificates of a server at 127.0.0.1 and of a client that it has signed.
    ///
    /// # Panics
    /// If openssl is not installed or refuses.
    #[expect(clippy::new_without_default, reason = "it runs a program")]
    pub fn new() -> Self {
        let secrets = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        secrets.openssl("authority", &[]);
        let (authority, key) = (secrets.path("authority.pem"), secrets.path("authority.key"));
        let (authority, key) = (authority.display().to_string(), key.display().to_string());
        for name in ["server", "client"] {
            let signed = ["-CA", &authority, "-CAkey", &key, "-addext", "subjectAltName=IP:127.0.0.1"];
            secrets.openssl(name, &[&signed[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat());
        }
        secrets
    }

    /// One of `authority.pem`, `server.pem`, `client.pem`, and of the keys beside them, which end in `.key`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is in the file at [`Secrets::path`].
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn openssl(&self, name: &str, further: &[&str]) {
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", &format!("/CN={name}"), "-keyout"])
            .arg(self.path(&format!("{name}.key")))
            .arg("-out")
            .arg(self.path(&format!("{name}.pem")))
            .args(further)
            .output()
            .unwrap_or_else(|error| panic!("openssl does not start: {error}; install Debian's openssl"));
        assert!(output.status.success(), "openssl, for {name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
