//! Agents against a real etcd.

use std::time::{Duration, Instant};

use larder_membership::{Agent, EtcdSettings, EtcdTls, Local, MembershipError, Order, Update};
use larder_testkit::{Etcd, Proxy, Secrets};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long an event may take: ten times what it does.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    orders: mpsc::Sender<Order>,
    updates: mpsc::Receiver<Update>,
    task: JoinHandle<Result<(), MembershipError>>,
}

fn settings(etcd: &Etcd) -> EtcdSettings {
    EtcdSettings {
        groups: Vec::new(),
        endpoints: etcd.endpoints().split(',').map(str::to_owned).collect(),
        user: None,
        tls: None,
        cluster: "test".into(),
        cluster_seed: 0,
        ttl: Duration::from_secs(2),
        http: String::new(),
        zone: String::new(),
        version: "larder test".into(),
    }
}

fn local(id: &str, address: &str, incarnation: u64) -> Local {
    Local { id: Some(id.into()), address: address.into(), shards: 2, points: None, incarnation }
}

fn run(settings: EtcdSettings, local: &Local) -> Running {
    let (orders, received) = mpsc::channel(16);
    let (sender, updates) = mpsc::channel(1_000);
    let begun = Instant::now();
    let clock = move || 1_000_000 + begun.elapsed().as_millis() as u64;
    let agent = Agent::new(settings, local, received, sender, clock);
    Running { orders, updates, task: tokio::spawn(agent.run()) }
}

impl Running {
    /// The first update of which this makes something.
    async fn until<T>(&mut self, mut choose: impl FnMut(&Update) -> Option<T>) -> T {
        let wait = async {
            loop {
                let update = self.updates.recv().await.expect("the agent runs");
                if let Some(chosen) = choose(&update) {
                    return chosen;
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("the awaited update comes")
    }

    /// Waits for a ring of these nodes; its epoch, and whether nothing was missed before.
    async fn ring(&mut self, ids: &[&str]) -> (u64, bool) {
        self.until(|update| match update {
            Update::Membership(membership) => {
                let nodes = membership.topology.nodes();
                let is_it = nodes.iter().map(|node| node.id.as_str()).eq(ids.iter().copied());
                is_it.then(|| (membership.topology.epoch(), membership.follows))
            }
            _ => None,
        })
        .await
    }

    async fn order(&self, order: Order) {
        self.orders.send(order).await.expect("the agent runs");
    }

    async fn serve(etcd: &Etcd, id: &str) -> Running {
        let running = run(settings(etcd), &local(id, &format!("{id}.example:7400"), 7));
        running.order(Order::Serve).await;
        running
    }
}

#[tokio::test]
async fn nodes_come_and_go_and_are_readable_meanwhile() {
    let etcd = Etcd::start();
    let mut a = Running::serve(&etcd, "a").await;
    let (alone, _) = a.ring(&["a"]).await;
    let mut b = Running::serve(&etcd, "b").await;
    let (both, follows) = a.ring(&["a", "b"]).await;
    assert!(both > alone && follows);
    b.ring(&["a", "b"]).await;
    let printed = etcd.ctl(&["get", "--prefix", "/larder"]);
    let expected = r#"/larder/test/nodes/a
{"addr":"a.example:7400","http":"","shards":2,"weight":1.0,"zone":"","state":"serving","incarnation":"0000000000000007","version":"larder test"}"#;
    assert!(printed.contains(expected), "{printed}");
    // In order, by itself.
    b.order(Order::Drain).await;
    let leaving = a
        .until(|update| match update {
            Update::Membership(membership) if !membership.leaving.is_empty() => Some(membership.leaving[0].id.clone()),
            _ => None,
        })
        .await;
    assert_eq!(leaving, "b");
    b.order(Order::Leave).await;
    assert_eq!(b.task.await.expect("no panic"), Ok(()));
    a.until(|update| matches!(update, Update::Membership(membership) if membership.leaving.is_empty()).then_some(()))
        .await;
    // Without a word: its registration runs out.
    let mut c = Running::serve(&etcd, "c").await;
    c.ring(&["a", "c"]).await;
    a.ring(&["a", "c"]).await;
    c.task.abort();
    drop(c);
    let begun = Instant::now();
    a.ring(&["a"]).await;
    println!("gone after {:?}, with a TTL of 2 s", begun.elapsed());
    // An operator takes a registration away: it is made anew.
    etcd.ctl(&["del", "/larder/test/nodes/a"]);
    let again = a
        .until(|update| match update {
            Update::Membership(membership) if membership.registration == 2 => Some(membership.topology.epoch()),
            _ => None,
        })
        .await;
    assert!(again > both);
}

#[tokio::test]
async fn what_operators_say_counts_for_all_and_is_taken_back() {
    let etcd = Etcd::start();
    let mut a = Running::serve(&etcd, "a").await;
    let mut b = Running::serve(&etcd, "b").await;
    a.ring(&["a", "b"]).await;
    b.ring(&["a", "b"]).await;
    let say = async |points, drain| {
        let (done, said) = oneshot::channel();
        a.order(Order::Override { node: "b".into(), points, drain, done }).await;
        said.await.expect("an answer").expect("it is written");
    };
    say(Some(Some(2048)), None).await;
    b.until(|update| match update {
        Update::Membership(membership) => (membership.topology.nodes()[1].points == 2048).then_some(()),
        _ => None,
    })
    .await;
    say(None, Some(true)).await;
    b.ring(&["a"]).await;
    assert_eq!(
        etcd.ctl(&["get", "--print-value-only", "/larder/test/overrides/b"]).trim(),
        r#"{"weight":2.0,"drain":true}"#
    );
    say(Some(None), Some(false)).await;
    b.ring(&["a", "b"]).await;
    assert_eq!(etcd.ctl(&["get", "--print-value-only", "/larder/test/overrides/b"]), "");
}

#[tokio::test]
async fn who_cannot_be_in_the_cluster_is_told_why_with_both_sides() {
    let etcd = Etcd::start();
    let mut a = Running::serve(&etcd, "a").await;
    a.ring(&["a"]).await;
    let refusal = async |settings, local: Local| {
        let mut running = run(settings, &local);
        let error = timeout(PATIENCE, &mut running.task).await.expect("it ends").expect("no panic");
        error.expect_err("it is refused").to_string()
    };
    let same_id = refusal(settings(&etcd), local("a", "b.example:7400", 8));
    let same_address = refusal(settings(&etcd), local("b", "a.example:7400", 8));
    let other_seed = refusal(EtcdSettings { cluster_seed: 9, ..settings(&etcd) }, local("b", "b.example:7400", 8));
    let (same_id, same_address, other_seed) = tokio::join!(same_id, same_address, other_seed);
    assert!(same_id.contains("\"a\" at a.example:7400") && same_id.contains("b.example:7400"), "{same_id}");
    assert!(same_address.contains("\"a\"") && same_address.contains("\"b\""), "{same_address}");
    assert!(other_seed.contains("seed \"0\"") && other_seed.contains("seed 9"), "{other_seed}");
}

#[tokio::test]
async fn a_process_that_has_come_back_takes_its_registration_over() {
    let etcd = Etcd::start();
    let mut before = Running::serve(&etcd, "a").await;
    before.ring(&["a"]).await;
    before.task.abort();
    let mut after = run(settings(&etcd), &local("a", "a.example:7400", 8));
    after.order(Order::Serve).await;
    let begun = Instant::now();
    after.ring(&["a"]).await;
    println!("taken over after {:?}", begun.elapsed());
    let nodes = etcd.ctl(&["get", "--prefix", "--print-value-only", "/larder/test/nodes"]);
    assert!(nodes.contains("0000000000000008") && nodes.lines().count() == 1, "{nodes}");
}

#[tokio::test]
async fn an_outage_changes_no_ring_and_ends_with_the_registration_as_it_was() {
    let mut etcd = Etcd::start();
    let mut a = Running::serve(&etcd, "a").await;
    let mut b = Running::serve(&etcd, "b").await;
    a.ring(&["a", "b"]).await;
    b.ring(&["a", "b"]).await;
    etcd.kill(0);
    a.until(|update| (*update == Update::Outage(true)).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    etcd.restart(0);
    let begun = Instant::now();
    let mut rings = Vec::new();
    a.until(|update| {
        if let Update::Membership(membership) = update {
            rings.push(membership.topology.nodes().len());
        }
        (*update == Update::Outage(false)).then_some(())
    })
    .await;
    println!("back {:?} after etcd", begun.elapsed());
    let (_, follows) = a.ring(&["a", "b"]).await;
    assert!(!follows, "something may have been missed");
    assert!(rings.iter().all(|nodes| *nodes == 2), "nobody was believed to be gone: {rings:?}");
}

#[tokio::test]
async fn a_cluster_of_etcd_servers_that_loses_its_leader_is_not_missed() {
    let mut etcd = Etcd::start_members(3);
    let mut a = Running::serve(&etcd, "a").await;
    a.ring(&["a"]).await;
    etcd.kill(etcd.leader());
    let (mut until_ms, mut lapsed) = (None, false);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        let Ok(update) = timeout(Duration::from_millis(500), a.updates.recv()).await else { continue };
        match update.expect("the agent runs") {
            Update::Proof { registration, until_ms: next } => {
                lapsed |= registration != 1 || next == 0;
                until_ms = Some(next);
            }
            Update::Membership(membership) => assert_eq!(membership.topology.nodes().len(), 1),
            Update::Outage(_) | Update::Report(_) => {}
        }
    }
    assert!(until_ms.is_some() && !lapsed, "the registration was renewed all the time");
}

#[tokio::test]
async fn etcd_asks_for_a_certificate_and_a_password() {
    let mut etcd = Etcd::start_secured();
    let secrets = etcd.secrets().expect("it asks for them");
    let read = |name| secrets.read(name);
    let tls =
        EtcdTls { authority: Some(read("authority.pem")), identity: Some((read("client.pem"), read("client.key"))) };
    let user = Some((Secrets::USER.to_owned(), Secrets::PASSWORD.to_owned()));
    let with = |tls: &EtcdTls, user| EtcdSettings { user, tls: Some(tls.clone()), ..settings(&etcd) };
    let wrong = Some((Secrets::USER.to_owned(), "another".to_owned()));
    let nobody = EtcdTls { identity: None, ..tls.clone() };
    let stranger = EtcdTls { authority: None, ..tls.clone() };
    for (what, settings) in [
        ("another password", with(&tls, wrong)),
        ("no user", with(&tls, None)),
        ("no certificate", with(&nobody, user.clone())),
        ("no authority", with(&stranger, user.clone())),
    ] {
        let mut refused = run(settings, &local("b", "b.example:7400", 8));
        refused.order(Order::Serve).await;
        let said = refused.until(|update| match update {
            Update::Report(report) => Some(report.clone()),
            Update::Membership(_) => panic!("{what}: let in"),
            _ => None,
        });
        println!("{what}: {}", said.await);
        refused.task.abort();
    }
    let mut a = run(with(&tls, user), &local("a", "a.example:7400", 7));
    a.order(Order::Serve).await;
    a.ring(&["a"]).await;
    // It forgets who has given a password.
    etcd.kill(0);
    a.until(|update| (*update == Update::Outage(true)).then_some(())).await;
    etcd.restart(0);
    a.until(|update| (*update == Update::Outage(false)).then_some(())).await;
    a.ring(&["a"]).await;
}

/// The revision of etcd.
fn revision(etcd: &Etcd) -> u64 {
    let read = etcd.ctl(&["get", "--write-out", "json", "nothing"]);
    let digits = read.split("\"revision\":").nth(1).expect("a revision");
    digits.split(|digit: char| !digit.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).expect("a number")
}

#[tokio::test]
async fn what_was_missed_is_read_also_if_etcd_has_forgotten_it() {
    let (etcd, other) = (Etcd::start(), Etcd::start());
    let address = |etcd: &Etcd| etcd.endpoints().trim_start_matches("http://").parse().expect("an address");
    let proxy = Proxy::start(address(&etcd));
    let by_proxy = EtcdSettings { endpoints: vec![format!("http://{}", proxy.address())], ..settings(&etcd) };
    let mut a = run(by_proxy, &local("a", "a.example:7400", 7));
    a.order(Order::Serve).await;
    let mut b = Running::serve(&etcd, "b").await;
    let (before, _) = a.ring(&["a", "b"]).await;
    b.ring(&["a", "b"]).await;
    // What cannot be read is reported and left out.
    etcd.ctl(&["put", "/larder/test/nodes/x", "nonsense"]);
    let report = a.until(|update| match update {
        Update::Report(report) => Some(report.clone()),
        _ => None,
    });
    let report = report.await;
    assert!(report.contains("/larder/test/nodes/x"), "{report}");
    // The connections are lost, and what happens meanwhile is forgotten: another node comes, goes and comes back.
    proxy.cut(true);
    let c = Running::serve(&etcd, "c").await;
    b.ring(&["a", "b", "c"]).await;
    let forgotten = revision(&etcd);
    etcd.ctl(&["compaction", &forgotten.to_string()]);
    proxy.redirect(address(&etcd));
    proxy.cut(false);
    let begun = Instant::now();
    let (after, follows) = a.ring(&["a", "b", "c"]).await;
    println!("read anew after {:?}", begun.elapsed());
    assert!(after > before && !follows, "{before}, {after}, {follows}");
    // Another etcd behind the same address: the ring stays, and both are named.
    proxy.redirect(address(&other));
    let report = a.until(|update| match update {
        Update::Report(report) if report.contains("the etcd that answers now is cluster") => Some(report.clone()),
        Update::Membership(membership) => {
            assert_eq!(membership.topology.nodes().len(), 3, "the ring stays");
            None
        }
        _ => None,
    });
    println!("{}", report.await);
    drop(c);
}
