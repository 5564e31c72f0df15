//! Bodies that are refused before they were read. A connection that is closed
//! while its peer still sends is reset, and with it the answer may be lost; so
//! the rest is read and thrown away for a while, and the answer says that the
//! connection ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt as _};

/// Most that is read of what nobody wants.
const REST_BYTES_MAX: usize = 64 << 20;

/// Longest that it is read.
const REST_TIMEOUT: Duration = Duration::from_secs(20);

/// Where a body is put when it is dropped before its end, and whether any of it
/// had been asked for.
type Left = Arc<Mutex<Option<(BodyDataStream, bool)>>>;

struct Watched {
    body: Option<BodyDataStream>,
    begun: bool,
    left: Left,
}

impl Stream for Watched {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.begun = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = body.poll_next_unpin(context);
        // After an error nothing more comes either.
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some((body, self.begun));
        }
    }
}

/// Answers, and sees to what was left unread.
pub(super) async fn reading_the_rest(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let asks_first = parts.headers.contains_key(header::EXPECT);
    let left = Left::default();
    let watched = Watched { body: Some(body.into_data_stream()), begun: false, left: left.clone() };
    let mut response = next.run(Request::from_parts(parts, Body::from_stream(watched))).await;
    let rest = left.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((rest, begun)) = rest {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        // Who asks before sending sends nothing after a refusal.
        if begun || !asks_first {
            tokio::spawn(tokio::time::timeout(REST_TIMEOUT, throw_away(rest)));
        }
    }
    response
}

async fn throw_away(mut rest: BodyDataStream) {
    let mut bytes = 0;
    while let Some(Ok(chunk)) = rest.next().await {
        bytes += chunk.len();
        if bytes > REST_BYTES_MAX {
            return;
        }
    }
}
