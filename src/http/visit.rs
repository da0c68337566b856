//! A request from its first header to its answer: its id, where it came from, and who turned out to send it.

use crate::domain::audit::Actor;
use axum::http::request::Parts;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// What is known of a request. The outermost layer puts it into the request, and reads in the end who it was.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// Id of the request.
    pub id: Option<Arc<str>>,
    /// Address it came from.
    pub address: Option<IpAddr>,
    who: Arc<OnceLock<Arc<Actor>>>,
    sought: Arc<OnceLock<Uuid>>,
}

impl Visit {
    /// A request with this id.
    pub fn new(id: Arc<str>, address: Option<IpAddr>) -> Self {
        Self { id: Some(id), address, ..Self::default() }
    }

    /// The visit a request is.
    pub fn of(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// The actor with what is known of its request, which is remembered as the one who sent it.
    pub fn by(&self, actor: Actor) -> Arc<Actor> {
        let address = self.address.map(|address| address.to_string());
        let request_id = self.id.as_deref().map(str::to_owned);
        let actor = Arc::new(Actor { address, request_id, ..actor });
        self.who.get_or_init(|| Arc::clone(&actor));
        actor
    }

    /// Remembers as which user somebody tried to get in.
    pub fn seeks(&self, user: Uuid) {
        self.sought.get_or_init(|| user);
    }

    /// The user as whom somebody tried to get in.
    pub fn sought(&self) -> Option<Uuid> {
        self.sought.get().copied()
    }

    /// Who sent it, once that was found out.
    pub fn who(&self) -> Option<&Actor> {
        self.who.get().map(AsRef::as_ref)
    }
}
