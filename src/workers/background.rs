//! Tasks that run beside the requests until the service stops.

use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time before a task that panicked is begun again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// Runs a task until `stop` is cancelled; should it panic, it is begun again.
pub async fn supervise<F>(name: &'static str, stop: CancellationToken, run: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    supervise_with(name, stop, AFTER_PANIC, run).await;
}

async fn supervise_with<F>(name: &'static str, stop: CancellationToken, rest: Duration, run: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    while !stop.is_cancelled() {
        if let Err(error) = tokio::spawn(run()).await {
            tracing::error!(%error, task = name, "a task failed and is begun again");
            pause(rest, &stop).await;
        }
    }
}

/// Waits so long, or until `stop` is cancelled.
pub async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_task_that_panics_is_begun_again_until_the_stop() {
        let (stop, begun) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let task = || {
            let (stop, begun) = (stop.clone(), Arc::clone(&begun));
            async move {
                assert!(begun.fetch_add(1, Ordering::SeqCst) >= 2, "planted");
                stop.cancel();
            }
        };
        supervise_with("planted", stop.clone(), Duration::from_millis(1), task).await;
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }
}
