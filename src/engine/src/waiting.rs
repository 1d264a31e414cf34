//! Who waits for other shards, until when, and what was answered and not yet fetched.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use larder_protocol::native::generated::{AlteredGroup, StatsResult};

use crate::completions::{Answer, Values};
use crate::deadlines::Deadlines;
use crate::failures;
use crate::gather::{Gather, Gathers};
use crate::limits::WAITING_MAX;
use crate::slab::{Slab, SlabKey};

/// The right to one answer, given by [`crate::Engine::submit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(SlabKey);

impl Ticket {
    /// A number that no other ticket in use has. The numbers in use are dense: a vector indexed by them stays as short
    /// as the most tickets that were ever in use at once, at most [`WAITING_MAX`].
    pub fn index(self) -> usize {
        self.0.index as usize
    }

    /// How often the number had been used before.
    pub fn generation(self) -> u32 {
        self.0.generation
    }
}

/// Everyone with a ticket.
#[derive(Debug)]
pub(crate) struct Waiting {
    waiters: Slab<Waiter>,
    deadlines: Deadlines,
    /// Tickets that were answered, in that order; those cancelled since then are in it and no longer known.
    answered: VecDeque<Ticket>,
    /// Where the values of answers are.
    pub(crate) values: Values,
    pub(crate) gathers: Gathers,
}

#[derive(Debug)]
enum Waiter {
    /// For other shards.
    Unanswered { idempotent: bool, what: Awaited },
    /// For the caller to fetch the answer.
    Answered(Answer),
}

/// What is missing.
#[derive(Debug)]
pub(crate) enum Awaited {
    /// The reply of the one shard that was asked.
    Reply,
    /// The results of some keys.
    Keys(Box<Gather>),
    /// The statistics of some shards.
    Stats { total: Box<StatsResult>, missing: usize },
    /// That some shards have invalidated the group.
    Invalidation { generation: u64, missing: usize },
    /// That some shards have applied an alteration.
    Alteration { altered: Box<AlteredGroup>, missing: usize },
}

impl Waiting {
    pub(crate) fn new() -> Self {
        Self {
            waiters: Slab::new(),
            deadlines: Deadlines::default(),
            answered: VecDeque::new(),
            values: Values::default(),
            gathers: Gathers::default(),
        }
    }

    /// Whether no more tickets may be given.
    pub(crate) fn is_full(&self) -> bool {
        self.waiters.len() >= WAITING_MAX
    }

    /// A new ticket; there must be room for it. `idempotent`: whether to ask again does no harm.
    pub(crate) fn begin(&mut self, deadline_ms: u64, idempotent: bool) -> Ticket {
        debug_assert!(!self.is_full(), "asked before");
        let key = self.waiters.insert(Waiter::Unanswered { idempotent, what: Awaited::Reply });
        self.deadlines.insert(key.index, deadline_ms);
        Ticket(key)
    }

    /// What the ticket waits for; `None`: its time was up, or it was cancelled.
    pub(crate) fn awaited(&mut self, ticket: Ticket) -> Option<(&mut Awaited, &mut Values, &mut Gathers)> {
        match self.waiters.value_mut(ticket.0)? {
            Waiter::Unanswered { what, .. } => Some((what, &mut self.values, &mut self.gathers)),
            Waiter::Answered(_) => None,
        }
    }

    /// Changes what the ticket waits for.
    pub(crate) fn await_instead(&mut self, ticket: Ticket, awaited: Awaited) {
        let (what, ..) = self.awaited(ticket).expect("the ticket was just given");
        *what = awaited;
    }

    /// Nothing is missing any more: the answer is what was awaited.
    pub(crate) fn complete(&mut self, ticket: Ticket) {
        let Some((what, ..)) = self.awaited(ticket) else { return };
        let answer = match core::mem::replace(what, Awaited::Reply) {
            Awaited::Reply => unreachable!("the answer to a single request is its reply"),
            Awaited::Keys(gather) => Answer::Keys(gather),
            Awaited::Stats { total, .. } => Answer::Stats(total),
            Awaited::Invalidation { generation, .. } => Answer::Invalidated { generation },
            Awaited::Alteration { altered, .. } => Answer::Altered(altered),
        };
        self.answer(ticket, answer);
    }

    /// Answers a ticket.
    pub(crate) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let Some(waiter) = self.waiters.value_mut(ticket.0) else { return };
        *waiter = Waiter::Answered(answer);
        self.deadlines.remove(ticket.0.index);
        self.answered.push_back(ticket);
    }

    /// Takes back a ticket. Its answer, should there be one, is dropped.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        match self.waiters.remove(ticket.0) {
            Some(Waiter::Unanswered { what, .. }) => {
                self.deadlines.remove(ticket.0.index);
                if let Awaited::Keys(gather) = what {
                    self.gathers.give_back(gather);
                }
            }
            Some(Waiter::Answered(Answer::Keys(gather))) => self.gathers.give_back(gather),
            Some(Waiter::Answered(_)) | None => {}
        }
    }

    /// The next answer that its caller has not fetched.
    pub(crate) fn next_answer(&mut self) -> Option<(Ticket, Answer)> {
        while let Some(ticket) = self.answered.pop_front() {
            match self.waiters.remove(ticket.0) {
                Some(Waiter::Answered(answer)) => return Some((ticket, answer)),
                Some(Waiter::Unanswered { .. }) => unreachable!("{ticket:?} is listed as answered and is not"),
                None => {} // It was cancelled.
            }
        }
        self.values.clear();
        None
    }

    /// The answer of this ticket, out of turn; `None`: there is none yet.
    pub(crate) fn take_answer(&mut self, ticket: Ticket) -> Option<Answer> {
        match self.waiters.value(ticket.0)? {
            Waiter::Unanswered { .. } => return None,
            Waiter::Answered(_) => {}
        }
        match self.waiters.remove(ticket.0) {
            Some(Waiter::Answered(answer)) => Some(answer),
            _ => unreachable!("{ticket:?} was answered a moment ago"),
        }
    }

    /// The earliest deadline, in ms since the Unix epoch.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(at_ms, _)| at_ms)
    }

    /// Answers the ticket with the earliest deadline that it is too late, if it is; says whether.
    pub(crate) fn expire_one(&mut self, now_ms: u64) -> bool {
        let Some((at_ms, index)) = self.deadlines.first() else { return false };
        if at_ms > now_ms {
            return false;
        }
        let key = self.waiters.key(index).expect("who has a deadline waits");
        let Some(Waiter::Unanswered { idempotent, what }) = self.waiters.value_mut(key) else {
            unreachable!("who was answered has no deadline")
        };
        match what {
            // Its keys that are still waiting say themselves that they are late.
            Awaited::Keys(_) => self.complete(Ticket(key)),
            Awaited::Reply | Awaited::Stats { .. } | Awaited::Invalidation { .. } | Awaited::Alteration { .. } => {
                let late = if *idempotent { &failures::DEADLINE_EXCEEDED } else { &failures::OUTCOME_UNKNOWN };
                self.answer(Ticket(key), Answer::Refused(late));
            }
        }
        true
    }

    /// How many parts the ticket waits for; `None`: it waits for none.
    pub(crate) fn missing(&self, ticket: Ticket) -> Option<usize> {
        match self.waiters.value(ticket.0)? {
            Waiter::Answered(_) => None,
            Waiter::Unanswered { what, .. } => Some(match what {
                Awaited::Reply => 1,
                Awaited::Keys(gather) => gather.missing,
                Awaited::Stats { missing, .. }
                | Awaited::Invalidation { missing, .. }
                | Awaited::Alteration { missing, .. } => *missing,
            }),
        }
    }

    /// The tickets in use.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.waiters.iter().map(|(key, _)| Ticket(key))
    }

    /// Panics with what is wrong. `delivered_bytes`: bytes of values in the gather that a caller has fetched last.
    pub(crate) fn validate(&self, delivered_bytes: usize) {
        self.waiters.validate();
        self.deadlines.validate();
        assert!(self.waiters.len() <= WAITING_MAX, "{} tickets", self.waiters.len());
        let (mut unanswered, mut answered, mut gathered_bytes) = (0, 0, delivered_bytes);
        for (key, waiter) in self.waiters.iter() {
            match waiter {
                Waiter::Unanswered { what, .. } => {
                    unanswered += 1;
                    if let Awaited::Keys(gather) = what {
                        gathered_bytes += gather.bytes();
                    }
                }
                Waiter::Answered(answer) => {
                    answered += 1;
                    assert!(self.answered.contains(&Ticket(key)), "{key:?} is answered and nobody will say so");
                    if let Answer::Keys(gather) = answer {
                        gathered_bytes += gather.bytes();
                    }
                }
            }
        }
        assert_eq!(self.deadlines.len(), unanswered, "who waits has a deadline, and nobody else");
        assert!(self.answered.len() >= answered, "every answer is listed");
        assert_eq!(self.gathers.bytes(), gathered_bytes, "bytes of values that are being gathered");
    }
}
