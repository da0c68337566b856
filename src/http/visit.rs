//! A request from its first header to its answer: its id, where it came from, and who turned out to send it.

use crate::domain::audit::Actor;
use axum::http::request::Parts;
use std::sync::{Arc, OnceLock};

/// What is known of a request. The outermost layer puts it into the request, and reads in the end who it was.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// Id of the request.
    pub id: Option<String>,
    /// Address it came from.
    pub address: Option<String>,
    who: Arc<OnceLock<Actor>>,
}

impl Visit {
    /// A request with this id.
    pub fn new(id: String, address: Option<String>) -> Self {
        Self { id: Some(id), address, who: Arc::default() }
    }

    /// The visit a request is.
    pub fn of(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// The actor with what is known of its request, which is remembered as the one who sent it.
    pub fn by(&self, actor: Actor) -> Actor {
        let actor = Actor { address: self.address.clone(), request_id: self.id.clone(), ..actor };
        self.who.get_or_init(|| actor.clone());
        actor
    }

    /// Who sent it, once that was found out.
    pub fn who(&self) -> Option<&Actor> {
        self.who.get()
    }
}
