//! Several futures of one caller at once, without tasks: what is borrowed stays borrowed.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Runs `futures` to their ends, at most `window` (at least 1) of them at a time, and returns the outputs in order.
pub(crate) async fn join<F: Future>(futures: impl Iterator<Item = F>, window: usize) -> Vec<F::Output> {
    assert!(window > 0, "a window of none never ends");
    let mut waiting = futures.enumerate();
    let mut live: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let mut outputs: Vec<Option<F::Output>> = Vec::new();
    poll_fn(|context| {
        loop {
            for (index, future) in waiting.by_ref().take(window - live.len()) {
                outputs.push(None);
                live.push((index, Box::pin(future)));
            }
            let before = live.len();
            live.retain_mut(|(index, future)| match future.as_mut().poll(context) {
                Poll::Ready(output) => {
                    outputs[*index] = Some(output);
                    false
                }
                Poll::Pending => true,
            });
            if live.is_empty() && before == 0 {
                return Poll::Ready(());
            }
            // Without room for another one there is nothing to begin until one of these wakes us.
            if live.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    outputs.into_iter().map(|output| output.expect("all have ended")).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn outputs_are_in_order_and_the_window_holds() {
        for (count, window) in [(0, 1), (1, 1), (7, 1), (100, 8), (5, 100)] {
            let live = Cell::new(0);
            let most = Cell::new(0);
            let futures = (0..count).map(|index| {
                let (live, most) = (&live, &most);
                async move {
                    live.set(live.get() + 1);
                    most.set(most.get().max(live.get()));
                    tokio::time::sleep(Duration::from_millis((index * 7) % 5)).await;
                    live.set(live.get() - 1);
                    index
                }
            });
            let outputs = join(futures, window).await;
            assert_eq!(outputs, (0..count).collect::<Vec<_>>());
            assert_eq!(most.get(), window.min(count as usize), "of {count}");
        }
    }
}
