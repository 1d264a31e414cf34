//! Where etcd is, and how it is spoken to.

use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, Fault};
use super::given::Given;
use super::setting::Setting;
use super::value::Milliseconds;
use crate::limits::{
    ETCD_ENDPOINTS_MAX, REGISTRATION_TTL_MS_DEFAULT, REGISTRATION_TTL_MS_MAX, REGISTRATION_TTL_MS_MIN,
};

/// Where etcd is, and how it is spoken to. Files are read at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    /// URLs of its servers, or `host:port`.
    pub endpoints: Vec<String>,
    /// The name to sign in with.
    pub user: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// PEM of who signs the servers' certificates.
    pub ca: Option<PathBuf>,
    /// PEM of this node's certificate, and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long a registration lasts that is not renewed.
    pub ttl: Duration,
}

/// All that is set about etcd; `None`: this node does without.
pub(super) fn resolve(given: &Given) -> Result<Option<EtcdConfig>, ConfigError> {
    let endpoints = given.parse(Setting::Etcd, endpoints)?;
    let user = given.parse(Setting::EtcdUser, name)?;
    let password_file = given.parse(Setting::EtcdPasswordFile, path)?;
    let ca = given.parse(Setting::EtcdCa, path)?;
    let certificate = given.parse(Setting::EtcdCert, path)?;
    let key = given.parse(Setting::EtcdKey, path)?;
    let ttl = given.parse(Setting::RegistrationTtl, ttl)?.unwrap_or(Duration::from_millis(REGISTRATION_TTL_MS_DEFAULT));
    let Some(endpoints) = endpoints else {
        let about = [
            Setting::EtcdUser,
            Setting::EtcdPasswordFile,
            Setting::EtcdCa,
            Setting::EtcdCert,
            Setting::EtcdKey,
            Setting::RegistrationTtl,
        ];
        return match about.into_iter().find(|setting| given.text(*setting).is_some()) {
            Some(setting) => {
                Err(given.refuse(setting, "", Fault::new("this node has no etcd", "set --etcd, or leave it out")))
            }
            None => Ok(None),
        };
    };
    if given.text(Setting::Peers).is_some() {
        let fault = Fault::new("the members are in etcd already", "leave out --peers, or --etcd");
        return Err(given.refuse(Setting::Peers, "", fault));
    }
    let pairs = [
        (Setting::EtcdUser, user.is_some(), Setting::EtcdPasswordFile, password_file.is_some()),
        (Setting::EtcdCert, certificate.is_some(), Setting::EtcdKey, key.is_some()),
    ];
    for (first, has_first, second, has_second) in pairs {
        if has_first != has_second {
            let (has, misses) = if has_first { (first, second) } else { (second, first) };
            let problem = format!("it is of no use without {}", misses.names().key);
            return Err(given.refuse(has, "", Fault::new(problem, "set both, or neither")));
        }
    }
    Ok(Some(EtcdConfig { endpoints, user, password_file, ca, identity: certificate.zip(key), ttl }))
}

fn endpoints(text: &str) -> Result<Vec<String>, Fault> {
    let endpoints: Vec<String> = text.split(',').map(|endpoint| endpoint.trim().to_owned()).collect();
    let is_endpoint = |endpoint: &String| {
        let host = endpoint
            .split_once("://")
            .map_or(Some(endpoint.as_str()), |(scheme, rest)| matches!(scheme, "http" | "https").then_some(rest));
        let host = host.and_then(|host| host.trim_end_matches('/').rsplit_once(':'));
        host.is_some_and(|(host, port)| {
            let is_host =
                !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte));
            is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    match endpoints.iter().find(|endpoint| !is_endpoint(endpoint)) {
        Some(endpoint) => Err(Fault::new(
            format!("{endpoint:?} is no address of an etcd server"),
            "write http://host:port or https://host:port, with commas between several",
        )),
        None if endpoints.len() > ETCD_ENDPOINTS_MAX => Err(Fault::new(
            format!("there are {} of them", endpoints.len()),
            format!("name at most {ETCD_ENDPOINTS_MAX}"),
        )),
        None => Ok(endpoints),
    }
}

fn name(text: &str) -> Result<String, Fault> {
    if text.is_empty() { Err(Fault::new("it is empty", "write the name")) } else { Ok(text.to_owned()) }
}

fn path(text: &str) -> Result<PathBuf, Fault> {
    if text.is_empty() { Err(Fault::new("it is empty", "write the path of a file")) } else { Ok(text.into()) }
}

fn ttl(text: &str) -> Result<Duration, Fault> {
    let Milliseconds(ms) = text.parse()?;
    if !(REGISTRATION_TTL_MS_MIN..=REGISTRATION_TTL_MS_MAX).contains(&ms) || !ms.is_multiple_of(1000) {
        let (least, most) = (Milliseconds(REGISTRATION_TTL_MS_MIN), Milliseconds(REGISTRATION_TTL_MS_MAX));
        return Err(Fault::new("no registration can last for this", format!("write whole seconds, {least} to {most}")));
    }
    Ok(Duration::from_millis(ms))
}
