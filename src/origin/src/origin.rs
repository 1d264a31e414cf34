//! An origin as those see it who ask it for keys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, sleep, timeout};

use crate::breaker::Breaker;
use crate::freshness::Freshness;
use crate::gate::Gate;
use crate::http::{Failed, Fetched, Http};
use crate::limits::{
    BUSY_RETRY_AFTER_MS, CONCURRENT_MAX, HEADER_BYTES_MAX, HEADERS_MAX, QUEUE_MAX, RETRY_PAUSE_MS_MAX,
    RETRY_PAUSE_MS_MIN, TIMEOUT_MS_MAX,
};
use crate::retries::Retries;
use crate::template::Template;

/// What an origin is told when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginSettings {
    /// The group that it is for, to be named in messages.
    pub group: String,
    /// Where a key is: `http://host:port/path/{key}`. The key is percent-encoded; it cannot reach another path or host.
    pub url: String,
    /// Headers to send with each request, as `Name: value`.
    pub headers: Vec<String>,
    /// How long one request may take, from connecting to the last byte; and how long a load may wait to be sent.
    pub timeout: Duration,
    /// Requests of this node at a time.
    pub concurrent_max: usize,
    /// Loads that may wait for one of those to end.
    pub queue_max: usize,
    /// Longest value that is taken, in bytes.
    pub value_bytes_max: usize,
}

/// Why settings make no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// The URL is no template.
    #[error("url {url:?}: {problem}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// A header cannot be sent.
    #[error("header {number} of {count}: {problem}; write \"Name: value\"")]
    Header {
        /// Which, from 1. Its value may be a secret.
        number: usize,
        /// Of how many.
        count: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A bound is outside what can be.
    #[error("{name} is {value}; it can be from {least} to {most}")]
    Bound {
        /// Which.
        name: &'static str,
        /// As given.
        value: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
}

/// What became of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The origin has it.
    Value {
        /// What it has.
        value: Bytes,
        /// For how long it is good, in ms; `None`: the origin does not say.
        ttl_ms: Option<u64>,
        /// Whether it may be kept at all.
        is_kept: bool,
        /// What the origin calls it, for [`Origin::load`].
        etag: Option<Bytes>,
    },
    /// What it has called so is as good as new.
    Unchanged {
        /// For how long, in ms; `None`: the origin does not say.
        ttl_ms: Option<u64>,
    },
    /// The origin does not have it.
    Absent,
    /// The origin was not asked.
    Busy {
        /// Why, in full.
        message: String,
        /// When to try again, in ms.
        retry_after_ms: u32,
    },
    /// The origin did not say.
    Failed {
        /// What it did instead, in full.
        message: String,
    },
}

/// See the crate. Shared by all loads of its group.
#[derive(Debug)]
pub struct Origin {
    group: String,
    http: Http,
    gate: Gate,
    timeout: Duration,
    breaker: Mutex<Breaker>,
    /// Until when the breaker leaves it alone, for whoever must not wait for that; 0: it does not.
    alone_until_ms: AtomicU64,
    retries: Mutex<Retries>,
    began: Instant,
    /// Counts loads; what jitter is made of.
    loads: AtomicU64,
}

/// A request that the breaker has let through. If nothing is said of it, it was not sent.
struct Attempt<'o> {
    origin: &'o Origin,
    is_over: bool,
}

impl OriginSettings {
    /// Whether they make an origin.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self) -> Result<(), OriginError> {
        self.parts().map(drop)
    }

    fn parts(&self) -> Result<(Template, HeaderMap), OriginError> {
        let template =
            Template::parse(&self.url).map_err(|problem| OriginError::Url { url: self.url.clone(), problem })?;
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let bound = |name, value, least, most| {
            let is_within = (least..=most).contains(&value);
            if is_within { Ok(()) } else { Err(OriginError::Bound { name, value, least, most }) }
        };
        bound("timeout in ms", timeout_ms, 1, TIMEOUT_MS_MAX)?;
        bound("max_concurrent", self.concurrent_max as u64, 1, CONCURRENT_MAX as u64)?;
        bound("queue", self.queue_max as u64, 0, QUEUE_MAX as u64)?;
        bound("the number of headers", self.headers.len() as u64, 0, HEADERS_MAX as u64)?;
        Ok((template, header_map(&self.headers)?))
    }

    /// The longest time that a load takes.
    pub fn load_time_max(&self) -> Duration {
        3 * self.timeout + Duration::from_millis(RETRY_PAUSE_MS_MAX)
    }
}

impl Origin {
    /// An origin that nobody was asked of yet. In a tokio runtime.
    ///
    /// # Errors
    /// The settings make none.
    pub fn new(settings: &OriginSettings) -> Result<Self, OriginError> {
        let (template, headers) = settings.parts()?;
        let &OriginSettings { timeout, concurrent_max, queue_max, value_bytes_max, .. } = settings;
        Ok(Self {
            group: settings.group.clone(),
            http: Http::new(template, headers, value_bytes_max, concurrent_max),
            gate: Gate::new(concurrent_max, queue_max),
            timeout,
            breaker: Mutex::new(Breaker::new()),
            alone_until_ms: AtomicU64::new(0),
            retries: Mutex::new(Retries::new()),
            began: Instant::now(),
            loads: AtomicU64::new(0),
        })
    }

    /// What [`Origin::load`] would answer at once because too many wait or the origin is left alone, as far as that can be
    /// told without waiting for anybody; nothing is remembered of it.
    pub fn refusal(&self) -> Option<Answer> {
        if let Some(refused) = self.gate.refusal() {
            return Some(self.busy(&refused.to_string(), BUSY_RETRY_AFTER_MS));
        }
        let until_ms = self.alone_until_ms.load(Ordering::Relaxed);
        let pause_ms = until_ms.checked_sub(self.now_ms()).filter(|pause_ms| until_ms > 0 && *pause_ms > 0)?;
        Some(self.left_alone(pause_ms))
    }

    /// Asks for a key, as often as it takes and may be; with the `etag` of a value that is there still, the origin may say
    /// that it is unchanged (RFC 9110, section 13.1.2). It is this time, in ms since the Unix epoch, for dates that the origin
    /// may name.
    pub async fn load(&self, key: &[u8], etag: Option<&[u8]>, now_ms: u64) -> Answer {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms);
        let number = self.loads.fetch_add(1, Ordering::Relaxed);
        // Nobody waits for a place at an origin that is left alone.
        if let Err(busy) = self.attempt().map(Attempt::leave) {
            return busy;
        }
        let _place = match self.gate.enter(self.timeout).await {
            Ok(place) => place,
            Err(refused) => return self.busy(&refused.to_string(), BUSY_RETRY_AFTER_MS),
        };
        lock(&self.retries).save();
        let first = match self.ask(key, etag, now).await {
            Ok(answer) => return answer,
            Err(failed) => failed,
        };
        if first.may_pass && lock(&self.retries).spend() {
            sleep(pause(number)).await;
            match self.ask(key, etag, now).await {
                Ok(answer @ (Answer::Value { .. } | Answer::Unchanged { .. } | Answer::Absent)) => return answer,
                Ok(Answer::Busy { .. } | Answer::Failed { .. }) => {}
                Err(second) => return self.failed(&format!("{}; asked again: {}", first.message, second.message)),
            }
        }
        self.failed(&first.message)
    }

    /// Asks once, if the breaker lets it.
    async fn ask(&self, key: &[u8], etag: Option<&[u8]>, now: SystemTime) -> Result<Answer, Failed> {
        let attempt = match self.attempt() {
            Ok(attempt) => attempt,
            Err(busy) => return Ok(busy),
        };
        let fetched = timeout(self.timeout, self.http.fetch(key, etag, now)).await.unwrap_or_else(|_| {
            let message = format!("no answer within {:?}", self.timeout);
            // Who has waited for so long has no time to wait once more.
            Err(Failed { message, may_pass: false, is_of_key: false })
        });
        let has_worked = fetched.as_ref().err().is_none_or(|failed| failed.is_of_key);
        attempt.ends(has_worked);
        fetched.map(|fetched| match fetched {
            Fetched::Value { value, freshness: Freshness { ttl_ms, is_kept }, etag } => {
                Answer::Value { value, ttl_ms, is_kept, etag }
            }
            // As it may not be kept for any longer, it is over at once.
            Fetched::Unchanged(Freshness { is_kept: false, .. }) => Answer::Unchanged { ttl_ms: Some(1) },
            Fetched::Unchanged(Freshness { ttl_ms, .. }) => Answer::Unchanged { ttl_ms },
            Fetched::Absent => Answer::Absent,
        })
    }

    fn attempt(&self) -> Result<Attempt<'_>, Answer> {
        match lock(&self.breaker).enter(self.now_ms()) {
            Ok(()) => Ok(Attempt { origin: self, is_over: false }),
            Err(pause_ms) => Err(self.left_alone(pause_ms)),
        }
    }

    fn left_alone(&self, pause_ms: u64) -> Answer {
        let retry_after_ms = u32::try_from(pause_ms).unwrap_or(u32::MAX).max(1);
        self.busy("it has failed again and again, and is left alone for a while", retry_after_ms)
    }

    fn busy(&self, why: &str, retry_after_ms: u32) -> Answer {
        Answer::Busy { message: self.message(why), retry_after_ms }
    }

    fn failed(&self, why: &str) -> Answer {
        Answer::Failed { message: self.message(why) }
    }

    fn message(&self, why: &str) -> String {
        format!("the origin of group {:?} at {}: {why}", self.group, self.http.place())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Attempt<'_> {
    fn ends(mut self, has_worked: bool) {
        self.is_over = true;
        let mut breaker = lock(&self.origin.breaker);
        if has_worked {
            breaker.worked()
        } else {
            breaker.failed(self.origin.now_ms())
        }
        self.origin.alone_until_ms.store(breaker.alone_until_ms(), Ordering::Relaxed);
    }

    fn leave(self) {}
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            lock(&self.origin.breaker).left(self.origin.now_ms());
        }
    }
}

/// Nobody panics with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Before a retry: different for each load, so that they do not come together again (splitmix64, S. Vigna).
fn pause(number: u64) -> Duration {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    Duration::from_millis(RETRY_PAUSE_MS_MIN + (mixed ^ (mixed >> 31)) % (RETRY_PAUSE_MS_MAX - RETRY_PAUSE_MS_MIN))
}

fn header_map(lines: &[String]) -> Result<HeaderMap, OriginError> {
    let mut headers = HeaderMap::new();
    for (line, number) in lines.iter().zip(1..) {
        let refused = |problem| OriginError::Header { number, count: lines.len(), problem };
        if line.len() > HEADER_BYTES_MAX {
            return Err(refused("it is too long"));
        }
        let (name, value) = line.split_once(':').ok_or(refused("it has no colon"))?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| refused("its name can be none"))?;
        if ["host", "content-length", "transfer-encoding", "connection", "accept-encoding"].contains(&name.as_str()) {
            return Err(refused("it is not one to be chosen"));
        }
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| refused("its value can be none"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}
