//! HTTP connections: so many at a time, each for as long as its client asks.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::limits::{HTTP_ACCEPT_PAUSE_MS, HTTP_CONNECTIONS_MAX, HTTP_HEAD_TIMEOUT_MS};

/// Serves until the runtime ends. Beyond [`HTTP_CONNECTIONS_MAX`], clients wait in the listener's backlog; one whose next
/// request does not begin or go on within [`HTTP_HEAD_TIMEOUT_MS`] makes room.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
        let Ok((stream, _)) = listener.accept().await else {
            // For want of descriptors, mostly.
            sleep(Duration::from_millis(HTTP_ACCEPT_PAUSE_MS)).await;
            continue;
        };
        // Without it answers come, if later.
        let _ = stream.set_nodelay(true);
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(HTTP_HEAD_TIMEOUT_MS));
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            // What is no HTTP is answered so and closed; nobody else is concerned.
            let _ = connection.await;
            drop(place);
        });
    }
}
