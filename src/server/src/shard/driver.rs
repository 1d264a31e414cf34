//! One shard on its executor: a task that accepts, one per connection, one for what nobody waits for, and the main
//! one, which runs the reactor's turns and takes orders.

use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam::utils::{Backoff, CachePadded};
use glommio::timer::sleep;
use glommio::{Latency, Shares, Task};

use super::accept::{Listener, accept, stop_accepting};
use super::bell::{Bell, Notice};
use super::control::{Admission, Control, ControlLane, News, Reporter};
use super::reactor::{ConnectionId, Reactor};
use crate::clock::Clock;
use crate::limits::{
    BACKGROUND_INTERVAL_MS, BACKGROUND_SHARES, BACKGROUND_STEPS, BREATH_US, MESH_TURNS, READ_BYTES, SPIN_US,
    STOP_LOOKS, TICK_MS,
};

/// What the tasks of one shard share.
pub(super) struct Shared {
    pub(super) reactor: RefCell<Reactor>,
    /// Where every read of this shard goes: a connection keeps only what it could not use.
    pub(super) read_buffer: RefCell<Box<[u8]>>,
    pub(super) clock: Clock,
    pub(super) admission: Arc<Admission>,
    wakers: RefCell<Vec<Option<Waker>>>,
    notice: Notice,
    is_stopping: Cell<bool>,
    is_cut: Cell<bool>,
    cut_off: Cell<usize>,
    /// Connection tasks that have not ended, lingering ones too.
    tasks: Cell<usize>,
}

impl Shared {
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    pub(super) fn count_cut(&self) {
        self.cut_off.set(self.cut_off.get() + 1);
    }

    /// Remembers how to wake a connection's task.
    pub(super) fn register(&self, id: ConnectionId, waker: &Waker) {
        let mut wakers = self.wakers.borrow_mut();
        let index = id.index as usize;
        if wakers.len() <= index {
            wakers.resize(index + 1, None);
        }
        if !wakers[index].as_ref().is_some_and(|registered| registered.will_wake(waker)) {
            wakers[index] = Some(waker.clone());
        }
    }

    /// A connection takes no more part.
    pub(super) fn forget(&self, id: ConnectionId) {
        self.wakers.borrow_mut()[id.index as usize] = None;
        let mut reactor = self.reactor.borrow_mut();
        reactor.closed(id);
        self.ask_for_turn(&reactor);
    }

    /// Has the main task run a turn if there is something for one. It runs behind the connections that are ready now,
    /// so that what they have for other shards goes out together.
    pub(super) fn ask_for_turn(&self, reactor: &Reactor) {
        if reactor.needs_turn() {
            self.notice.give();
        }
    }

    /// A connection's task begins, and ends when what it returns is dropped.
    pub(super) fn enter(self: &Rc<Self>) -> Presence {
        self.tasks.set(self.tasks.get() + 1);
        Presence(self.clone())
    }

    fn wake_listed(&self) {
        let wakers = self.wakers.borrow();
        let mut reactor = self.reactor.borrow_mut();
        while let Some(id) = reactor.next_listed() {
            if let Some(waker) = &wakers[id.index as usize] {
                waker.wake_by_ref();
            }
        }
    }

    fn wake_all(&self) {
        self.wakers.borrow().iter().flatten().for_each(Waker::wake_by_ref);
    }
}

/// One connection's task.
pub(super) struct Presence(Rc<Shared>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.tasks.set(self.0.tasks.get() - 1);
        self.0.admission.leave();
        self.0.notice.give();
    }
}

/// What a shard is made of when its executor starts.
pub struct Plan {
    /// The connections and the engine.
    pub reactor: Reactor,
    /// Where connections come from.
    pub listener: TcpListener,
    /// The time.
    pub clock: Clock,
    /// The bound on connections, shared by all shards.
    pub admission: Arc<Admission>,
    /// Where orders come from.
    pub controls: Arc<ControlLane>,
    /// Where news goes.
    pub reporter: Reporter,
    /// Counts on while the shard lives.
    pub heartbeat: Arc<CachePadded<AtomicU64>>,
    /// Whether the shard has its core for itself, and may spin.
    pub has_own_core: bool,
}

/// Runs a shard until it is told to exit. On its executor.
pub(super) async fn run(plan: Plan) {
    let Plan { reactor, listener, clock, admission, controls, mut reporter, heartbeat, has_own_core } = plan;
    let (bell, listener) = match Bell::new(reactor.port().door()).and_then(|bell| Ok((bell, Listener::new(listener)?)))
    {
        Ok(opened) => opened,
        Err(error) => return reporter.say(News::Failed(format!("its descriptors cannot be opened: {error}"))),
    };
    let shared = Rc::new(Shared {
        reactor: RefCell::new(reactor),
        read_buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
        clock,
        admission,
        wakers: RefCell::default(),
        notice: Notice::default(),
        is_stopping: Cell::new(false),
        is_cut: Cell::new(false),
        cut_off: Cell::new(0),
        tasks: Cell::new(0),
    });
    let listener = Rc::new(listener);
    // Detached: it holds nothing that outlives the executor.
    glommio::spawn_local(tick(heartbeat)).detach();
    let shard = Shard {
        accepting: Some(glommio::spawn_local(accept(shared.clone(), listener.clone()))),
        background: background(shared.clone()),
        listener,
        bell,
        shared,
        controls,
        reporter,
        has_own_core,
        is_drained: false,
    };
    shard.run().await;
}

/// The main task.
struct Shard {
    shared: Rc<Shared>,
    listener: Rc<Listener>,
    accepting: Option<Task<()>>,
    background: Task<()>,
    bell: Bell,
    controls: Arc<ControlLane>,
    reporter: Reporter,
    has_own_core: bool,
    is_drained: bool,
}

impl Shard {
    async fn run(mut self) {
        self.reporter.say(News::Ready);
        let mut worked = 0;
        loop {
            let turn = self.shared.reactor.borrow_mut().turn(self.shared.clock.now_ms());
            self.shared.wake_listed();
            if turn.control && self.obey().await {
                break;
            }
            self.report_drained();
            if turn.worked {
                worked += 1;
                if worked % MESH_TURNS == 0 {
                    breathe().await;
                } else {
                    glommio::executor().yield_now().await;
                }
                continue;
            }
            // Who has just talked to another shard is likely to hear from it, sooner than a wake takes.
            if core::mem::take(&mut worked) > 0 && self.has_own_core && self.spin() {
                continue;
            }
            self.sleep().await;
        }
        self.exit().await;
    }

    /// Follows the orders that have come. Returns whether the shard is to exit.
    async fn obey(&mut self) -> bool {
        while let Some(control) = self.controls.receive() {
            match control {
                Control::Stop => self.stop().await,
                Control::Exit => return true,
            }
        }
        false
    }

    async fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        stop_accepting(&self.shared, &self.listener).await;
        accepting.await;
        // What had come to a socket before the order is known to its task when the executor has looked: once to ask the
        // kernel about a new socket, and once to hear the answer.
        for _ in 0..STOP_LOOKS {
            sleep(Duration::from_millis(1)).await;
        }
        self.shared.is_stopping.set(true);
        self.shared.wake_all();
    }

    fn report_drained(&mut self) {
        if self.shared.is_stopping() && self.shared.tasks.get() == 0 && !core::mem::replace(&mut self.is_drained, true)
        {
            self.reporter.say(News::Drained);
        }
    }

    /// Looks for messages for a moment; whether some came.
    fn spin(&self) -> bool {
        let begun = Instant::now();
        let backoff = Backoff::new();
        while begun.elapsed() < Duration::from_micros(SPIN_US) {
            if self.shared.reactor.borrow().needs_turn() {
                return true;
            }
            backoff.spin();
        }
        false
    }

    async fn sleep(&mut self) {
        let (now_ms, wake_ms) = {
            let reactor = self.shared.reactor.borrow();
            if !reactor.port().door().may_sleep() {
                return;
            }
            (self.shared.clock.now_ms(), reactor.next_wake_ms())
        };
        self.bell.sleep(&self.shared.notice, now_ms, wake_ms).await;
        self.shared.reactor.borrow().port().door().awake();
    }

    async fn exit(mut self) {
        if let Some(accepting) = self.accepting.take() {
            self.listener.close();
            accepting.await;
        }
        self.background.cancel().await;
        self.shared.is_cut.set(true);
        while self.shared.tasks.get() > 0 {
            self.shared.wake_all();
            // Lingering connections are not among the wakers; they see the order when their timer or peer wakes them.
            sleep(Duration::from_millis(1)).await;
        }
        let doors = self.shared.reactor.borrow().port().doors().clone();
        let shard = self.shared.reactor.borrow().port().shard();
        self.bell.close(&doors[usize::from(shard)]).await;
        if cfg!(debug_assertions) {
            self.shared.reactor.borrow_mut().validate();
        }
        self.reporter.say(News::Exited(self.shared.cut_off.get()));
    }
}

/// Work that nobody waits for, in a queue with few shares.
fn background(shared: Rc<Shared>) -> Task<()> {
    let queue =
        glommio::executor().create_task_queue(Shares::Static(BACKGROUND_SHARES), Latency::NotImportant, "background");
    let work = async move {
        loop {
            let has_more = shared.reactor.borrow_mut().background(shared.clock.now_ms(), BACKGROUND_STEPS);
            if has_more {
                breathe().await;
            } else {
                sleep(Duration::from_millis(BACKGROUND_INTERVAL_MS)).await;
            }
        }
    };
    glommio::spawn_local_into(work, queue).expect("the queue was made just now")
}

/// Shows that the executor runs and that its timers fire, and bounds how long it may sleep. To its very end: without a
/// timer, a sleep that begins by mistake would have no end.
async fn tick(heartbeat: Arc<CachePadded<AtomicU64>>) {
    loop {
        sleep(Duration::from_millis(TICK_MS)).await;
        heartbeat.fetch_add(1, Ordering::Relaxed);
    }
}

/// Steps aside until the executor has looked at its sockets, timers and other threads. It does so when no task is
/// ready: [`glommio::yield_if_needed`] and its like only let the other ready tasks run.
pub(super) async fn breathe() {
    sleep(Duration::from_micros(BREATH_US)).await;
}
