//! Whom a log line concerns: the trace of the request or socket at hand and, as soon as they are known,
//! its event and visitor.
//!
//! It belongs to the task, not to a span: the server's pass around handlers opens it, whoever learns
//! something notes it, and [`log`](super::log) writes it into every line of that task. A request that
//! logs nothing pays for two pointers.

use std::cell::RefCell;

use crate::ids::{EventId, VisitorId};
use crate::service::spans;
use crate::service::trace::TraceContext;

/// What is known of the request or socket.
#[derive(Clone, Debug)]
pub struct Context {
    /// Its trace.
    pub trace: TraceContext,
    /// The event it is about.
    pub event: Option<EventId>,
    /// Who it is about.
    pub visitor: Option<VisitorId>,
}

tokio::task_local! {
    static CURRENT: RefCell<Context>;
}

/// Runs `future` as the work of one request or socket.
pub fn scope<F: Future>(trace: TraceContext, future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(RefCell::new(Context { trace, event: None, visitor: None }), future)
}

/// Does what needs no waiting as the work of one request.
pub fn sync_scope<T>(trace: TraceContext, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(RefCell::new(Context { trace, event: None, visitor: None }), work)
}

/// Does something as the work of a request that is over.
pub fn sync_within<T>(known: Context, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(RefCell::new(known), work)
}

/// Takes what is known now along with a future that another task is to run.
pub fn carried<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let known = current();
    let future = spans::carried(future);
    async move {
        match known {
            Some(context) => CURRENT.scope(RefCell::new(context), future).await,
            None => future.await,
        }
    }
}

/// The header for a call to another server that belongs to the request at hand.
pub fn traceparent() -> Option<String> {
    spans::traceparent().or_else(|| CURRENT.try_with(|context| context.borrow().trace.traceparent()).ok())
}

/// The request or socket at hand is about this event.
pub fn note_event(event: &EventId) {
    note(|context| context.event = Some(event.clone()));
}

/// The request or socket at hand is about this visitor.
pub fn note_visitor(visitor: &VisitorId) {
    note(|context| context.visitor = Some(visitor.clone()));
}

/// What is known; `None` where no request is served.
pub fn current() -> Option<Context> {
    CURRENT.try_with(|context| context.try_borrow().ok().map(|context| context.clone())).ok().flatten()
}

fn note(change: impl FnOnce(&mut Context)) {
    // Outside of a request there is nothing to write it to.
    let _ = CURRENT.try_with(|context| change(&mut context.borrow_mut()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_noted_stays_with_its_task() {
        let trace = TraceContext::new();
        scope(trace, async {
            let other = tokio::spawn(async { current().is_none() });
            let carried = tokio::spawn(carried(async { traceparent() }));
            assert!(carried.await.unwrap().unwrap().contains(&trace.id.to_string()));
            note_event(&EventId::new("faults").unwrap());
            note_visitor(&VisitorId::new("a_x").unwrap());
            tokio::task::yield_now().await;
            let context = current().unwrap();
            assert_eq!(context.trace, trace);
            assert_eq!(context.event.unwrap().as_str(), "faults");
            assert_eq!(context.visitor.unwrap().as_str(), "a_x");
            assert!(other.await.unwrap());
        })
        .await;
        assert!(current().is_none());
        note_event(&EventId::new("nowhere").unwrap());
    }
}
