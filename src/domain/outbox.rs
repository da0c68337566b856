//! Prices to be posted on to another instance.

use crate::named_enum;

named_enum! {
    /// What has become of a post.
    PostState {
        /// It waits to be sent.
        Waiting = "waiting",
        /// It is being sent.
        Sending = "sending",
        /// It was refused, and is sent no more unless somebody asks for it.
        Dead = "dead",
    }
}
