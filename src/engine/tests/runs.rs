//! Requests of one caller to another shard share a number, and each has its answer.

use std::collections::BTreeMap;

use larder_engine::limits::RUN_MAX;
use larder_engine::{Engine, Ticket};
use larder_protocol::{Command, Request, Status};

use crate::harness::{OwnedReply, World, WorldSettings, set};

/// Who asked, and for what value.
struct Asked {
    caller: u64,
    value: Option<Vec<u8>>,
}

/// Who waits, in an order that is the same in every run.
type Waiting = BTreeMap<(usize, u32, usize), (Ticket, Asked)>;

fn name(ticket: Ticket) -> (usize, u32, usize) {
    (ticket.index(), ticket.generation(), ticket.place())
}

fn give_up(world: &mut World, waiting: &mut Waiting, mut is_gone: impl FnMut(&Asked) -> bool) {
    waiting.retain(|_, (ticket, asked)| {
        let is_gone = is_gone(asked);
        if is_gone {
            world.engines[0].cancel(*ticket);
        }
        !is_gone
    });
}

#[test]
fn callers_share_no_number_and_who_gave_up_hears_nothing() {
    (1..=3).for_each(ask_and_give_up);
}

fn ask_and_give_up(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let settings = WorldSettings { shards: 3, timeout_ms_default: 60, delay_ms_max: 20, ..WorldSettings::default() };
    let mut world = World::new(seed, settings);
    let mut waiting = Waiting::new();
    let (mut caller, mut answered, mut late, mut longest) = (0, 0, 0, 0);
    for step in 0..300 {
        let what = format!("seed {seed}, step {step}");
        for _ in 0..random.usize(0..3) {
            caller += 1;
            world.engines[0].next_caller();
            for number in 0..random.usize(1..6 * RUN_MAX) {
                let key = world.key_of(random.u16(0..3), &format!("{caller}/{number}"));
                let (command, value) = match random.u8(0..4) {
                    0 => (set(&key, &key), None),
                    1 => (Command::Delete { key: &key, version: 0 }, None),
                    _ => (Command::Get { key: &key }, Some(key.clone())),
                };
                // Those that are late sooner are of a run of their own.
                let timeout_ms = [0, 25][usize::from(random.u8(0..8) == 0)];
                let request = Request { id: 0, epoch: 0, group: 0, timeout_ms, forwarded: false, command };
                if let Err(ticket) = world.submit_request(0, request) {
                    longest = longest.max(ticket.place() + 1);
                    let before = waiting.insert(name(ticket), (ticket, Asked { caller, value }));
                    assert!(before.is_none(), "{what}: {ticket:?} is in use");
                }
                // The next of its requests may find that nobody waits for those before it.
                if random.u8(0..30) == 0 {
                    give_up(&mut world, &mut waiting, |asked| asked.caller == caller);
                }
            }
        }
        // Whose number it is: nobody else's.
        let mut owners = BTreeMap::new();
        for (ticket, asked) in waiting.values() {
            let owner = *owners.entry(ticket.index()).or_insert((asked.caller, ticket.generation()));
            assert_eq!(owner, (asked.caller, ticket.generation()), "{what}: {ticket:?}");
        }
        give_up(&mut world, &mut waiting, |_| random.u8(0..20) == 0);
        if random.u8(0..60) == 0 {
            world.stall(random.u16(1..3), 50);
        }
        for _ in 0..random.usize(0..6) {
            world.step();
        }
        for (at, ticket, reply) in world.answers.drain(..) {
            let (_, asked) =
                waiting.remove(&name(ticket)).unwrap_or_else(|| panic!("{what}: nobody asked for {ticket:?}"));
            assert_eq!(at, 0);
            answered += 1;
            match (&reply, asked.value) {
                (OwnedReply::Entry(_), Some(value)) => assert_eq!(reply.value(), Some(&value[..]), "{what}"),
                (OwnedReply::Entry(_), None) => panic!("{what}: {reply:?} answers no get"),
                _ => late += usize::from(reply.failure() == Some(Status::DeadlineExceeded)),
            }
        }
        world.engines.iter().for_each(Engine::validate);
    }
    world.settle();
    let (left, shown) = (world.answers.len(), waiting.len());
    assert_eq!(left, shown, "seed {seed}: the rest is answered");
    assert!(world.answers.iter().all(|(_, ticket, _)| waiting.contains_key(&name(*ticket))), "seed {seed}");
    world.engines.iter().for_each(Engine::validate);
    assert_eq!(longest, RUN_MAX, "seed {seed}: runs are as long as they may be");
    assert!(late > 20 && answered > 2 * late, "seed {seed}: {late} of {answered} were late");
}
