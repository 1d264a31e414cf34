//! The one table of settings.

/// A setting of `larder serve`. Groups are not settings: they are only in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "Setting::TABLE says what each of them is")]
pub enum Setting {
    Memory,
    Cores,
    Shards,
    Spin,
    Insecure,
    Listen,
    Resp,
    Memcache,
    Http,
    HttpCors,
    RespDatabases,
    RespPrefixes,
    Cluster,
    NodeId,
    Advertise,
    Seed,
    Weight,
    Etcd,
    EtcdUser,
    EtcdPasswordFile,
    EtcdCa,
    EtcdCert,
    EtcdKey,
    RegistrationTtl,
    Peers,
    ValueMax,
    ConnectionsMax,
    RequestTimeout,
    StopTimeout,
    IdleTimeout,
    HalfSentTimeout,
}

/// How a setting is named, and what it means.
#[derive(Debug)]
pub struct Names {
    /// Its key in `larder.toml`, with the table it is in.
    pub key: &'static str,
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// Its environment variable.
    pub environment: &'static str,
    /// What the value is, in capitals.
    pub value: &'static str,
    /// What it means, in one sentence without a full stop.
    pub meaning: &'static str,
    /// What holds if it is not given.
    pub default: &'static str,
}

impl Setting {
    /// Every setting, in the order in which `--print-config` prints them: tables are together.
    pub const TABLE: [(Setting, Names); 31] = [
        (
            Setting::Memory,
            Names {
                key: "memory",
                flag: "memory",
                environment: "LARDER_MEMORY",
                value: "SIZE",
                meaning: "Memory of all groups together, over all shards",
                default: "256MiB",
            },
        ),
        (
            Setting::Cores,
            Names {
                key: "cores",
                flag: "cores",
                environment: "LARDER_CORES",
                value: "LIST",
                meaning: "The numbers of the cores to run on, such as 0-7,16-23",
                default: "all that it may run on",
            },
        ),
        (
            Setting::Shards,
            Names {
                key: "shards",
                flag: "shards",
                environment: "LARDER_SHARDS",
                value: "N",
                meaning: "Number of shards, each a thread pinned to one of the cores",
                default: "one per core",
            },
        ),
        (
            Setting::Spin,
            Names {
                key: "spin",
                flag: "spin",
                environment: "LARDER_SPIN",
                value: "TIME",
                meaning: "How long a shard without work looks for some before it waits",
                default: "off",
            },
        ),
        (
            Setting::Insecure,
            Names {
                key: "insecure",
                flag: "insecure",
                environment: "LARDER_INSECURE",
                value: "BOOL",
                meaning: "Allow addresses that others can reach, without TLS or credentials",
                default: "false",
            },
        ),
        (
            Setting::Listen,
            Names {
                key: "listen.native",
                flag: "listen",
                environment: "LARDER_LISTEN",
                value: "IP:PORT",
                meaning: "Where the native protocol is spoken; port 0: any free one",
                default: "127.0.0.1:7400",
            },
        ),
        (
            Setting::Resp,
            Names {
                key: "listen.resp",
                flag: "resp",
                environment: "LARDER_RESP",
                value: "IP:PORT",
                meaning: "Where RESP is spoken, or off; port 0: any free one",
                default: "127.0.0.1:7479, if free",
            },
        ),
        (
            Setting::Memcache,
            Names {
                key: "listen.memcache",
                flag: "memcache",
                environment: "LARDER_MEMCACHE",
                value: "IP:PORT",
                meaning: "Where memcached's protocol is spoken, or off",
                default: "127.0.0.1:7411, if free",
            },
        ),
        (
            Setting::Http,
            Names {
                key: "listen.http",
                flag: "http",
                environment: "LARDER_HTTP",
                value: "IP:PORT",
                meaning: "Where HTTP is spoken, or off; port 0: any free one",
                default: "127.0.0.1:7480, if free",
            },
        ),
        (
            Setting::HttpCors,
            Names {
                key: "listen.http_cors",
                flag: "http-cors",
                environment: "LARDER_HTTP_CORS",
                value: "ORIGIN,…",
                meaning: "Pages of these origins may use HTTP from a browser; *: of any",
                default: "off",
            },
        ),
        (
            Setting::RespDatabases,
            Names {
                key: "resp.databases",
                flag: "resp-databases",
                environment: "LARDER_RESP_DATABASES",
                value: "GROUP,…",
                meaning: "The groups that SELECT 0, SELECT 1 and so on choose",
                default: "default",
            },
        ),
        (
            Setting::RespPrefixes,
            Names {
                key: "resp.prefixes",
                flag: "resp-prefixes",
                environment: "LARDER_RESP_PREFIXES",
                value: "BOOL",
                meaning: "A RESP key such as a:b is b in the group a",
                default: "false",
            },
        ),
        (
            Setting::Cluster,
            Names {
                key: "cluster.name",
                flag: "cluster",
                environment: "LARDER_CLUSTER",
                value: "NAME",
                meaning: "Name of the cluster that this node belongs to",
                default: "larder",
            },
        ),
        (
            Setting::NodeId,
            Names {
                key: "cluster.node_id",
                flag: "node-id",
                environment: "LARDER_NODE_ID",
                value: "ID",
                meaning: "Name of this node, unique in its cluster",
                default: "the address that others reach it by",
            },
        ),
        (
            Setting::Advertise,
            Names {
                key: "cluster.advertise",
                flag: "advertise",
                environment: "LARDER_ADVERTISE",
                value: "HOST:PORT",
                meaning: "Address by which others reach this node",
                default: "the native address",
            },
        ),
        (
            Setting::Seed,
            Names {
                key: "cluster.seed",
                flag: "seed",
                environment: "LARDER_SEED",
                value: "N",
                meaning: "Seed of all hashes, the same on every node and client of a cluster",
                default: "0",
            },
        ),
        (
            Setting::Weight,
            Names {
                key: "cluster.weight",
                flag: "weight",
                environment: "LARDER_WEIGHT",
                value: "N",
                meaning: "Share of the keys that this node has in relation to others, such as 2 or 0.5",
                default: "1",
            },
        ),
        (
            Setting::Etcd,
            Names {
                key: "cluster.etcd",
                flag: "etcd",
                environment: "LARDER_ETCD",
                value: "URL,URL",
                meaning: "etcd servers that know the members of the cluster",
                default: "none",
            },
        ),
        (
            Setting::EtcdUser,
            Names {
                key: "cluster.etcd_user",
                flag: "etcd-user",
                environment: "LARDER_ETCD_USER",
                value: "NAME",
                meaning: "Who this node is to etcd",
                default: "nobody",
            },
        ),
        (
            Setting::EtcdPasswordFile,
            Names {
                key: "cluster.etcd_password_file",
                flag: "etcd-password-file",
                environment: "LARDER_ETCD_PASSWORD_FILE",
                value: "PATH",
                meaning: "File with the password for etcd",
                default: "none",
            },
        ),
        (
            Setting::EtcdCa,
            Names {
                key: "cluster.etcd_ca",
                flag: "etcd-ca",
                environment: "LARDER_ETCD_CA",
                value: "PATH",
                meaning: "PEM file of who signs the certificates of etcd",
                default: "none",
            },
        ),
        (
            Setting::EtcdCert,
            Names {
                key: "cluster.etcd_cert",
                flag: "etcd-cert",
                environment: "LARDER_ETCD_CERT",
                value: "PATH",
                meaning: "PEM file of this node's certificate for etcd",
                default: "none",
            },
        ),
        (
            Setting::EtcdKey,
            Names {
                key: "cluster.etcd_key",
                flag: "etcd-key",
                environment: "LARDER_ETCD_KEY",
                value: "PATH",
                meaning: "PEM file of the key of that certificate",
                default: "none",
            },
        ),
        (
            Setting::RegistrationTtl,
            Names {
                key: "cluster.registration_ttl",
                flag: "registration-ttl",
                environment: "LARDER_REGISTRATION_TTL",
                value: "TIME",
                meaning: "When a node is gone for the others that etcd does not hear",
                default: "5s",
            },
        ),
        (
            Setting::Peers,
            Names {
                key: "cluster.peers",
                flag: "peers",
                environment: "LARDER_PEERS",
                value: "ADDR,ADDR",
                meaning: "All members of the cluster, this node too: [id=]host:port[*weight]",
                default: "none",
            },
        ),
        (
            Setting::ValueMax,
            Names {
                key: "limits.value_max",
                flag: "value-max",
                environment: "LARDER_VALUE_MAX",
                value: "SIZE",
                meaning: "Longest value, up to 64MiB",
                default: "8MiB, or less if a group has less on a shard",
            },
        ),
        (
            Setting::ConnectionsMax,
            Names {
                key: "limits.connections_max",
                flag: "connections-max",
                environment: "LARDER_CONNECTIONS_MAX",
                value: "N",
                meaning: "Most client connections at the same time",
                default: "16384",
            },
        ),
        (
            Setting::RequestTimeout,
            Names {
                key: "limits.request_timeout",
                flag: "request-timeout",
                environment: "LARDER_REQUEST_TIMEOUT",
                value: "TIME",
                meaning: "Deadline of a request that names none",
                default: "1s",
            },
        ),
        (
            Setting::StopTimeout,
            Names {
                key: "limits.stop_timeout",
                flag: "stop-timeout",
                environment: "LARDER_STOP_TIMEOUT",
                value: "TIME",
                meaning: "How long a stopping server may take to answer what it has received",
                default: "5s",
            },
        ),
        (
            Setting::IdleTimeout,
            Names {
                key: "limits.idle_timeout",
                flag: "idle-timeout",
                environment: "LARDER_IDLE_TIMEOUT",
                value: "TIME",
                meaning: "When a connection that is idle is closed",
                default: "off",
            },
        ),
        (
            Setting::HalfSentTimeout,
            Names {
                key: "limits.half_sent_timeout",
                flag: "half-sent-timeout",
                environment: "LARDER_HALF_SENT_TIMEOUT",
                value: "TIME",
                meaning: "When a connection with half a request is closed",
                default: "30s",
            },
        ),
    ];

    /// Every setting, in the order of [`Setting::TABLE`].
    pub fn all() -> impl Iterator<Item = Setting> {
        Self::TABLE.iter().map(|(setting, _)| *setting)
    }

    /// How this setting is named.
    pub fn names(self) -> &'static Names {
        const { &Self::TABLE }.get(self as usize).map(|(_, names)| names).expect("every setting is in the table")
    }

    /// Whether `off` is a value.
    pub fn can_be_off(self) -> bool {
        matches!(self, Setting::Resp | Setting::Memcache | Setting::Http | Setting::HttpCors)
    }
}

const _: () = {
    let mut index = 0;
    while index < Setting::TABLE.len() {
        assert!(Setting::TABLE[index].0 as usize == index, "the table is in the order of the enum");
        index += 1;
    }
};
