//! Logins: a session, and the refresh tokens that go on with it one after another.
//!
//! A refresh token is good once. One that comes a second time was copied, and nobody can tell by whom: the session ends
//! for both.

use crate::domain::access::UserStatus;
use crate::domain::hexadecimal::hex;
use crate::domain::moment::Moment;
use crate::random::{NoRandomness, Random};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::users::{self, RefreshToken, Session, User};
use crate::workers::gate::Settings;
use crate::workers::server_secret::ServerSecret;
use crate::workers::tokens::signing::Signer;
use serde::Serialize;
use uuid::Uuid;

/// What a refresh token begins with.
const MARK: &str = "art-refresh_";
/// What secrets of refresh tokens are hashed for.
const PURPOSE: &str = "refresh token";
/// How long a session that has expired is remembered, in microseconds.
const REMEMBER: i64 = crate::domain::moment::DAY;

/// A refresh token just made: what is shown once, and what is kept.
#[derive(Debug)]
pub struct NewRefresh {
    /// The token.
    pub shown: String,
    id: Uuid,
    secret_hash: String,
}

impl NewRefresh {
    /// Makes one.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn make(secret: &ServerSecret, random: Random, now: Moment) -> Result<Self, NoRandomness> {
        let (id, text) = (random.uuid_v7(now)?, hex(&random.bytes::<32>()?));
        let secret_hash = secret.hash(PURPOSE, &[id.as_bytes(), text.as_bytes()]);
        Ok(Self { shown: format!("{MARK}{}_{text}", id.simple()), id, secret_hash })
    }

    fn kept(&self, session: &Session, settings: &Settings, now: Moment) -> RefreshToken {
        RefreshToken {
            id: self.id,
            session_id: session.id,
            secret_hash: self.secret_hash.clone(),
            expires_at: now.plus(settings.refresh).min(session.expires_at),
            used_at: None,
        }
    }
}

/// Id and secret of a presented refresh token.
fn split(presented: &str) -> Option<(Uuid, &str)> {
    let (id, secret) = presented.strip_prefix(MARK)?.split_once('_')?;
    let id = Uuid::try_parse(id).ok().filter(|_| id.len() == 32)?;
    (secret.len() == 64).then_some((id, secret))
}

/// Begins a session of a user.
///
/// # Errors
/// The database's.
pub async fn begin(
    tx: &mut Tx,
    (id, user): (Uuid, Uuid),
    refresh: &NewRefresh,
    settings: &Settings,
) -> Result<Session, StorageError> {
    let now = tx.recorded_at()?;
    let session = Session { id, user_id: user, expires_at: now.plus(settings.session), ended_at: None };
    users::begin_session(tx, &session, now.plus(-REMEMBER)).await?;
    users::insert_refresh(tx, &refresh.kept(&session, settings, now)).await?;
    Ok(session)
}

/// What became of a refresh token.
#[derive(Debug)]
pub enum Refreshed {
    /// Its session goes on.
    Goes(Box<(User, Session)>),
    /// It had been used before: its session has ended now.
    Reused {
        /// The session.
        session: Uuid,
        /// Whose it was.
        user: Uuid,
    },
    /// It is none, or not any more.
    Refused,
}

/// Goes on with a session: the presented token is used up, and another one stands in its place.
///
/// # Errors
/// The database's.
pub async fn go_on(
    tx: &mut Tx,
    secret: &ServerSecret,
    presented: &str,
    next: &NewRefresh,
    settings: &Settings,
) -> Result<Refreshed, StorageError> {
    let now = tx.recorded_at()?;
    let Some((token, session)) = find(tx, secret, presented).await? else { return Ok(Refreshed::Refused) };
    if session.ended_at.is_some() || session.expires_at <= now || token.expires_at <= now {
        return Ok(Refreshed::Refused);
    }
    if token.used_at.is_some() {
        users::end_session(tx, session.id, "refresh token used twice").await?;
        return Ok(Refreshed::Reused { session: session.id, user: session.user_id });
    }
    let user = users::find(tx, session.user_id).await?;
    let Some(user) = user.filter(|user| user.status == UserStatus::Active) else {
        return Ok(Refreshed::Refused);
    };
    users::use_refresh(tx, token.id).await?;
    users::insert_refresh(tx, &next.kept(&session, settings, now)).await?;
    Ok(Refreshed::Goes(Box::new((user, session))))
}

/// Ends the session of a refresh token; which one, if it was one.
///
/// # Errors
/// The database's.
pub async fn end(
    tx: &mut Tx,
    secret: &ServerSecret,
    presented: &str,
) -> Result<Option<Session>, StorageError> {
    let Some((_, session)) = find(tx, secret, presented).await? else { return Ok(None) };
    users::end_session(tx, session.id, "logged out").await?;
    Ok(Some(session))
}

/// Whether a refresh token is one, used or not: what is none need not trouble the writer.
///
/// # Errors
/// The database's.
pub async fn knows(tx: &mut Tx, secret: &ServerSecret, presented: &str) -> Result<bool, StorageError> {
    Ok(find(tx, secret, presented).await?.is_some())
}

async fn find(
    tx: &mut Tx,
    secret: &ServerSecret,
    presented: &str,
) -> Result<Option<(RefreshToken, Session)>, StorageError> {
    let Some((id, text)) = split(presented) else { return Ok(None) };
    let token = users::find_refresh(tx, id).await?;
    let kept = token.as_ref().map(|token| token.secret_hash.as_str());
    let matches = secret.matches(kept, PURPOSE, &[id.as_bytes(), text.as_bytes()]);
    let Some(token) = token.filter(|_| matches) else { return Ok(None) };
    let session = users::find_session(tx, token.session_id).await?;
    Ok(session.map(|session| (token, session)))
}

#[derive(Serialize)]
struct AccessClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: Uuid,
    sid: Uuid,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
    scope: &'a str,
}

/// An access token of a session: the token, and for how many seconds it is good.
pub fn access_token(
    signer: &Signer,
    settings: &Settings,
    (user, session): (&User, &Session),
    jti: Uuid,
    now: Moment,
) -> Option<(String, i64)> {
    let seconds = |at: Moment| at.0.div_euclid(1_000_000);
    let issued = seconds(now);
    let exp = seconds(now.plus(settings.access).min(session.expires_at));
    let claims = AccessClaims {
        iss: &settings.issuer,
        aud: &settings.audience,
        sub: user.id,
        sid: session.id,
        jti,
        iat: issued,
        nbf: issued,
        exp,
        scope: &user.scopes,
    };
    Some((signer.sign(&claims)?, exp - issued))
}
