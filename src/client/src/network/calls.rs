//! The calls of one connection: who waits for which answer. A call whose future was dropped keeps its place until its
//! answer has come, so that the answer is known, discarded, and never mistaken for another one's.

use std::task::{Poll, Waker};

use crate::limits::CALLS_MAX;
use crate::network::answer::Answer;

const INDEX_BITS: u32 = 24;
const _: () = assert!(CALLS_MAX <= 1 << INDEX_BITS, "an index fits in its bits of an id");

/// The position of a frame that is not in the outbox yet.
const NOT_QUEUED: u64 = u64::MAX;

/// The id of a call on the wire: its place, and how often the place was used before. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallId(u64);

impl CallId {
    fn new(index: usize, generation: u16) -> Self {
        debug_assert!(generation != 0 && index < CALLS_MAX, "{index}, {generation}");
        CallId(u64::from(generation) << INDEX_BITS | index as u64)
    }

    /// As it is sent.
    pub(crate) fn wire(self) -> u64 {
        self.0
    }

    fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }
}

#[derive(Debug)]
enum State {
    Free,
    /// `position`: where the frame begins in the stream of all bytes of the connection; [`NOT_QUEUED`] before that.
    Waiting {
        position: u64,
        waker: Option<Waker>,
    },
    Abandoned,
    Answered(Answer),
    Lost {
        sent: bool,
    },
}

#[derive(Debug)]
struct Slot {
    generation: u16,
    state: State,
}

/// What an arrived answer met.
#[derive(Debug)]
pub(crate) enum Completion {
    /// A caller, to be woken once no lock is held.
    Caller(Option<Waker>),
    /// Nobody any more.
    Discarded,
}

/// The connection ended before the answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Whether the frame, or a part of it, may have reached the server.
    pub(crate) sent: bool,
}

/// A table of calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    slots: Vec<Slot>,
    free: Vec<u32>,
    unanswered: usize,
}

impl Calls {
    /// Takes a place for a call; `None`: there are [`CALLS_MAX`] calls already.
    pub(crate) fn begin(&mut self) -> Option<CallId> {
        let index = match self.free.pop() {
            Some(index) => index as usize,
            None if self.slots.len() < CALLS_MAX => {
                self.slots.push(Slot { generation: 0, state: State::Free });
                self.slots.len() - 1
            }
            None => return None,
        };
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1).max(1);
        slot.state = State::Waiting { position: NOT_QUEUED, waker: None };
        self.unanswered += 1;
        Some(CallId::new(index, slot.generation))
    }

    /// The frame of a call goes into the stream of the connection at `at`.
    pub(crate) fn queued(&mut self, id: CallId, at: u64) {
        match &mut self.slot(id).state {
            State::Waiting { position, .. } => *position = at,
            other => unreachable!("a call is queued once, before it is polled; this one is {other:?}"),
        }
    }

    /// How many calls, abandoned ones included, have no answer yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// The answer with the id `wire` has come. It is given back if no call waits for it.
    pub(crate) fn complete(&mut self, wire: u64, answer: Answer) -> Result<Completion, Answer> {
        let index = CallId(wire).index();
        let Some(slot) = self.slots.get_mut(index).filter(|slot| CallId::new(index, slot.generation).0 == wire) else {
            return Err(answer);
        };
        match &mut slot.state {
            State::Waiting { waker, .. } => {
                let waker = waker.take();
                slot.state = State::Answered(answer);
                self.unanswered -= 1;
                Ok(Completion::Caller(waker))
            }
            State::Abandoned => {
                self.unanswered -= 1;
                self.release(index);
                Ok(Completion::Discarded)
            }
            State::Free | State::Answered(_) | State::Lost { .. } => Err(answer),
        }
    }

    /// Asks for the answer of a call; once it is ready, the place is free again.
    pub(crate) fn poll(&mut self, id: CallId, waker: &Waker) -> Poll<Result<Answer, Lost>> {
        let state = &mut self.slot(id).state;
        match state {
            State::Waiting { waker: known, .. } => {
                if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                    *known = Some(waker.clone());
                }
                Poll::Pending
            }
            State::Answered(_) | State::Lost { .. } => {
                let ready = match std::mem::replace(state, State::Free) {
                    State::Answered(answer) => Ok(answer),
                    State::Lost { sent } => Err(Lost { sent }),
                    State::Free | State::Waiting { .. } | State::Abandoned => unreachable!("matched above"),
                };
                self.release(id.index());
                Poll::Ready(ready)
            }
            State::Free | State::Abandoned => unreachable!("a call is polled by its only future"),
        }
    }

    /// The caller is gone, without having been given its answer.
    pub(crate) fn abandon(&mut self, id: CallId) {
        let state = &mut self.slot(id).state;
        match state {
            State::Waiting { .. } => *state = State::Abandoned,
            State::Answered(_) | State::Lost { .. } => self.release(id.index()),
            State::Free | State::Abandoned => unreachable!("a call is abandoned by its only future"),
        }
    }

    /// The connection has ended after the first `taken` bytes of its stream were given to the socket.
    pub(crate) fn lose_all(&mut self, taken: u64, wakers: &mut Vec<Waker>) {
        for index in 0..self.slots.len() {
            match &mut self.slots[index].state {
                State::Waiting { position, waker } => {
                    wakers.extend(waker.take());
                    self.slots[index].state = State::Lost { sent: *position < taken };
                }
                State::Abandoned => self.release(index),
                State::Free | State::Answered(_) | State::Lost { .. } => {}
            }
        }
        self.unanswered = 0;
        if cfg!(debug_assertions) {
            self.validate();
        }
    }

    fn slot(&mut self, id: CallId) -> &mut Slot {
        let slot = &mut self.slots[id.index()];
        assert!(CallId::new(id.index(), slot.generation) == id, "{id:?} has been released");
        slot
    }

    fn release(&mut self, index: usize) {
        self.slots[index].state = State::Free;
        self.free.push(index as u32);
    }

    /// Asserts what is always true of a table.
    pub(crate) fn validate(&self) {
        let mut listed = vec![false; self.slots.len()];
        for &index in &self.free {
            assert!(!std::mem::replace(&mut listed[index as usize], true), "place {index} is listed as free twice");
        }
        let mut unanswered = 0;
        for (index, slot) in self.slots.iter().enumerate() {
            let free = matches!(slot.state, State::Free);
            assert_eq!(
                free, listed[index],
                "place {index} is {:?} and in the free list: {}",
                slot.state, listed[index]
            );
            unanswered += usize::from(matches!(slot.state, State::Waiting { .. } | State::Abandoned));
        }
        assert_eq!(unanswered, self.unanswered, "count of calls without an answer");
        assert!(self.slots.len() <= CALLS_MAX, "{} places", self.slots.len());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use larder_protocol::Status;

    use super::*;
    use crate::network::answer::Payload;

    fn answer(value: u64) -> Answer {
        Answer {
            epoch: 1,
            status: Status::Ok,
            message: String::new(),
            retry_after_ms: 0,
            payload: Payload::Stored(value),
        }
    }

    fn stored(answer: &Answer) -> u64 {
        match answer.payload {
            Payload::Stored(value) => value,
            ref other => panic!("{other:?}"),
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Model {
        Waiting,
        Abandoned,
        Answered(u64),
    }

    #[test]
    fn random_steps_give_each_caller_its_own_answer() {
        for seed in 0..32 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut calls = Calls::default();
            let mut model: HashMap<u64, (CallId, Model)> = HashMap::new();
            for step in 0..2_000 {
                let picked = rng.choice(model.iter().map(|(wire, (id, state))| (*wire, *id, *state)));
                match (rng.u8(0..4), picked) {
                    (0, _) => {
                        let id = calls.begin().expect("room");
                        assert!(id.wire() != 0, "seed {seed}");
                        assert!(model.insert(id.wire(), (id, Model::Waiting)).is_none(), "seed {seed}: id in use");
                    }
                    (1, Some((wire, id, Model::Waiting))) => {
                        assert!(matches!(calls.complete(wire, answer(step)), Ok(Completion::Caller(_))), "seed {seed}");
                        model.insert(wire, (id, Model::Answered(step)));
                    }
                    (1, Some((wire, _, Model::Abandoned))) => {
                        assert!(matches!(calls.complete(wire, answer(step)), Ok(Completion::Discarded)), "seed {seed}");
                        model.remove(&wire);
                        assert!(calls.complete(wire, answer(step)).is_err(), "seed {seed}");
                    }
                    (1, Some((wire, _, Model::Answered(_)))) => {
                        assert!(calls.complete(wire, answer(step)).is_err(), "seed {seed}");
                    }
                    (2, Some((wire, id, state))) if state != Model::Abandoned => {
                        match (calls.poll(id, Waker::noop()), state) {
                            (Poll::Pending, Model::Waiting) => {}
                            (Poll::Ready(Ok(answer)), Model::Answered(value)) => {
                                assert_eq!(stored(&answer), value, "seed {seed}");
                                model.remove(&wire);
                            }
                            (poll, state) => panic!("seed {seed}: {poll:?} for {state:?}"),
                        }
                    }
                    (3, Some((wire, id, state))) if state != Model::Abandoned => {
                        calls.abandon(id);
                        match state {
                            Model::Waiting => drop(model.insert(wire, (id, Model::Abandoned))),
                            _ => drop(model.remove(&wire)),
                        }
                    }
                    _ => {}
                }
                calls.validate();
                let open = model.values().filter(|(_, state)| !matches!(state, Model::Answered(_))).count();
                assert_eq!(calls.unanswered(), open, "seed {seed}");
            }
        }
    }

    #[test]
    fn the_end_of_a_connection_tells_what_was_sent() {
        let mut calls = Calls::default();
        let mut begin = |position: Option<u64>| {
            let id = calls.begin().unwrap();
            position.inspect(|position| calls.queued(id, *position));
            id
        };
        let (sent, partly, waits, not_queued) = (begin(Some(0)), begin(Some(90)), begin(Some(100)), begin(None));
        let gone = begin(Some(20));
        calls.abandon(gone);
        calls.lose_all(100, &mut Vec::new());
        calls.validate();
        let mut lost = |id| match calls.poll(id, Waker::noop()) {
            Poll::Ready(Err(lost)) => lost.sent,
            other => panic!("{other:?}"),
        };
        assert_eq!((lost(sent), lost(partly), lost(waits), lost(not_queued)), (true, true, false, false));
        calls.validate();
    }

    #[test]
    fn an_id_that_nobody_asked_with_is_unknown() {
        let mut calls = Calls::default();
        for wire in [0, 1, u64::MAX, 1 << INDEX_BITS] {
            assert!(calls.complete(wire, answer(1)).is_err(), "{wire}");
        }
        let id = calls.begin().unwrap();
        assert!(calls.complete(id.wire() + (1 << INDEX_BITS), answer(1)).is_err());
        calls.validate();
    }
}
