//! Who may come in, held in memory: keys, users, logins that were ended, tokens that were revoked.
//!
//! One process owns the data, so what is held here is all there is: a request is judged without the database. A change is
//! read anew right after its commit and before it is answered, whether or not its caller still waits; should that
//! reading fail, nobody is judged before it has succeeded.

use crate::domain::access::{Reach, Scopes, UserStatus};
use crate::domain::hexadecimal::hex;
use crate::domain::ids::PortfolioId;
use crate::domain::moment::Moment;
use crate::storage::access::{self, ApiKey};
use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::storage::token_keys::{self, SigningKey};
use crate::storage::users::{self, User};
use crate::workers::server_secret::{ServerSecret, is_plain};
use crate::workers::tokens::issuers::Issuer;
use crate::workers::tokens::signing::{self, Signer};
use crate::workers::tokens::{ACCESS_TYPE, Believed, KeyMark, LEEWAY, Presented, TokenFault, VerifyingKey};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use subtle::ConstantTimeEq as _;
use tokio::sync::Notify;
use uuid::Uuid;

/// What secrets of API keys are hashed for.
const KEY_PURPOSE: &str = "api key";
/// Rows read at once.
const PAGE: i64 = 1_000;

/// A key that is not revoked.
#[derive(Debug)]
struct KnownKey {
    key: ApiKey,
    scopes: Arc<Scopes>,
    reach: Arc<Reach>,
    /// Last use, and the one that is in the database.
    used: Arc<Uses>,
}

#[derive(Debug, Default)]
struct Uses {
    last: AtomicI64,
    kept: AtomicI64,
}

#[derive(Debug)]
struct KnownUser {
    user: User,
    scopes: Arc<Scopes>,
    reach: Arc<Reach>,
}

/// Keys of tokens, and tokens that are refused.
#[derive(Debug, Default)]
struct TokenKeys {
    keys: Vec<SigningKey>,
    verifying: HashMap<String, VerifyingKey>,
    signer: Option<Arc<Signer>>,
    /// By issuer, claim and value: refused when issued until then.
    revoked: HashMap<(String, &'static str, String), Moment>,
}

/// What is to be read anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Keys.
    Keys,
    /// Users, and logins that were ended.
    Users,
    /// Keys that sign, and tokens that are refused.
    Tokens,
}

/// What lets somebody in, to be looked at again while an answer or a stream goes on.
#[derive(Debug, Clone)]
pub enum Standing {
    /// The owner's socket, or the open loopback address.
    Always,
    /// An API key.
    Key {
        /// Its prefix.
        prefix: String,
        /// The first of the keys that followed one another by rotation.
        lineage: String,
    },
    /// A token, our own or of another issuer.
    Token {
        /// Who issued it.
        issuer: String,
        /// The key it was signed with.
        key: (String, KeyMark),
        /// What it says.
        token: Box<Believed>,
        /// The version of the user it is about, of our own: what a user may do is another thing after a change.
        version: Option<i64>,
    },
}

impl Standing {
    /// Who shares a quota: a key with those that followed it by rotation, and every token one issuer makes for one subject,
    /// however it is written. Nobody where nothing was shown.
    pub fn holder(&self) -> Option<(&str, &str)> {
        match self {
            Self::Always => None,
            // No issuer is without a name.
            Self::Key { lineage, .. } => Some(("", lineage)),
            Self::Token { issuer, token, .. } => Some((issuer, &token.sub)),
        }
    }
}

/// Somebody who was let in.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Who it is: the same over a rotation of its key, another one with another reach.
    pub actor: String,
    /// The public part of its key.
    pub key_prefix: Option<String>,
    /// What it may do.
    pub scopes: Arc<Scopes>,
    /// Whose portfolios.
    pub reach: Arc<Reach>,
    /// What lets it in.
    pub standing: Standing,
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The API key is not one, or not any more.
    Key,
    /// The token is not believed.
    Token(TokenFault),
}

impl Refused {
    /// The kind, for metrics.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Key => "api_key",
            Self::Token(_) => "token",
        }
    }
}

/// Everybody who may come in.
#[derive(Debug)]
pub struct Directory {
    secret: ServerSecret,
    /// `iss` and `aud` of our own tokens.
    own: (String, String),
    issuers: Vec<Arc<Issuer>>,
    /// Told when a token names a key that its issuer does not have yet.
    pub(super) wanted: Notify,
    keys: RwLock<Arc<HashMap<String, Arc<KnownKey>>>>,
    users: RwLock<Arc<HashMap<Uuid, Arc<KnownUser>>>>,
    ended: RwLock<Arc<HashSet<Uuid>>>,
    tokens: RwLock<Arc<TokenKeys>>,
    stale: AtomicBool,
    reading: tokio::sync::Mutex<()>,
}

fn held<T>(table: &RwLock<Arc<T>>) -> Arc<T> {
    Arc::clone(&table.read().unwrap_or_else(PoisonError::into_inner))
}

fn hold<T>(table: &RwLock<Arc<T>>, value: T) {
    *table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
}

fn reach_of(owner_id: &str, scopes: &Scopes, portfolios: Option<&str>) -> Arc<Reach> {
    // An id that cannot be read is left out: that narrows, and never widens.
    let named = portfolios.map(|text| text.split(' ').filter_map(PortfolioId::parse).collect());
    Arc::new(Reach { owner_id: owner_id.to_owned(), any_owner: scopes.is_admin(), portfolios: named })
}

/// What a user is called in the audit trail, and for idempotency keys.
fn named(name: &str, reach: &Reach) -> String {
    format!("user:{}{}", escaped(name), mark_of(reach))
}

/// The same of a user who is not let in by a token yet.
pub fn actor_of(user: &User) -> String {
    let scopes = Scopes::parse(&user.scopes);
    named(&user.name, &reach_of(&user.owner_id, &scopes, user.portfolios.as_deref()))
}

/// Prefix and secret of a presented key.
fn split_key(presented: &str) -> Option<(&str, &str)> {
    let parts = presented.strip_prefix("art_")?.split_once('_');
    parts.filter(|(prefix, secret)| !prefix.is_empty() && prefix.len() <= 64 && secret.len() == 64)
}

fn plain_hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

impl Directory {
    /// An empty one; it is filled by [`Directory::read`].
    pub fn new(secret: ServerSecret, own: (String, String), issuers: Vec<Arc<Issuer>>) -> Self {
        Self {
            secret,
            own,
            issuers,
            wanted: Notify::new(),
            keys: RwLock::default(),
            users: RwLock::default(),
            ended: RwLock::default(),
            tokens: RwLock::default(),
            stale: AtomicBool::new(true),
            reading: tokio::sync::Mutex::new(()),
        }
    }

    /// The secret that hashes are keyed by.
    pub const fn secret(&self) -> &ServerSecret {
        &self.secret
    }

    /// Issuers whose tokens are believed.
    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// What is kept of a key's secret.
    pub fn key_hash(&self, prefix: &str, secret: &str) -> String {
        self.rehashed(prefix, &plain_hash(secret))
    }

    fn rehashed(&self, prefix: &str, plain: &str) -> String {
        self.secret.hash(KEY_PURPOSE, &[prefix.as_bytes(), plain.as_bytes()])
    }

    /// Puts keyed hashes in the place of plain ones from before, and says how many keys were hashed with a secret that
    /// is not here.
    ///
    /// # Errors
    /// The database's.
    pub async fn upgrade(self: &Arc<Self>, db: &Database) -> Result<usize, StorageError> {
        let mut tx = db.read().await?;
        let (mut plain, mut foreign, mut after) = (Vec::new(), 0, None);
        loop {
            let page = access::list_keys(&mut tx, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.created_at, last.prefix.clone()));
            for key in page.iter().filter(|key| key.revoked_at.is_none()) {
                if is_plain(&key.secret_hash) {
                    plain.push((key.prefix.clone(), self.rehashed(&key.prefix, &key.secret_hash)));
                } else if !self.secret.knows(&key.secret_hash) {
                    foreign += 1;
                }
            }
        }
        drop(tx);
        if !plain.is_empty() {
            let rehash = db.writer().housekeep(move |tx| {
                Box::pin(async move {
                    for (prefix, hash) in &plain {
                        access::rehash_key(tx, prefix, hash).await?;
                    }
                    Ok::<(), StorageError>(())
                })
            });
            rehash.await?;
        }
        Ok(foreign)
    }

    /// Reads parts anew. What is held afterwards is at least as new as what was committed before the call.
    ///
    /// # Errors
    /// The database's; nobody is judged then before a reading has succeeded.
    pub async fn read(&self, db: &Database, parts: &[Part], now: Moment) -> Result<(), StorageError> {
        let turn = self.reading.lock().await;
        let read = self.read_parts(db, parts, now).await;
        if read.is_err() {
            self.stale.store(true, Ordering::SeqCst);
        }
        drop(turn);
        read
    }

    /// Reads everything, if a reading failed before.
    ///
    /// # Errors
    /// The database's.
    pub async fn settle(&self, db: &Database, now: Moment) -> Result<(), StorageError> {
        if !self.stale.load(Ordering::SeqCst) {
            return Ok(());
        }
        let _turn = self.reading.lock().await;
        if self.stale.load(Ordering::SeqCst) {
            self.read_parts(db, &[Part::Keys, Part::Users, Part::Tokens], now).await?;
            self.stale.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn read_parts(&self, db: &Database, parts: &[Part], now: Moment) -> Result<(), StorageError> {
        let mut tx = db.read().await?;
        // Stamps may be behind the clock, for as long as it is not followed.
        let since = now.min(tx.last_commit().await?).plus(-(signing::ACCESS_MAX + LEEWAY));
        for part in parts {
            match part {
                Part::Keys => {
                    let (before, mut keys, mut after) = (held(&self.keys), HashMap::new(), None);
                    loop {
                        let page = access::list_keys(&mut tx, after, PAGE).await?;
                        let Some(last) = page.last() else { break };
                        after = Some((last.created_at, last.prefix.clone()));
                        for key in page.into_iter().filter(|key| key.revoked_at.is_none()) {
                            let known = before.get(&key.prefix);
                            keys.insert(key.prefix.clone(), Arc::new(KnownKey::of(key, known)));
                        }
                    }
                    hold(&self.keys, keys);
                }
                Part::Users => {
                    let (mut all, mut after) = (HashMap::new(), String::new());
                    loop {
                        let page = users::list(&mut tx, &after, PAGE).await?;
                        let Some(last) = page.last() else { break };
                        after.clone_from(&last.name);
                        all.extend(page.into_iter().map(|user| (user.id, Arc::new(KnownUser::from(user)))));
                    }
                    let ended = users::ended_sessions(&mut tx, since).await?;
                    hold(&self.users, all);
                    hold(&self.ended, ended.into_iter().collect());
                }
                Part::Tokens => {
                    let keys = token_keys::signing_keys(&mut tx, since).await?;
                    let revoked = token_keys::revocations(&mut tx, now).await?;
                    hold(&self.tokens, TokenKeys::of(&self.secret, keys, revoked));
                }
            }
        }
        Ok(())
    }

    /// The holder of a presented API key. A wrong secret, an unknown prefix and a key that has ended cost the same work.
    ///
    /// # Errors
    /// [`Refused::Key`].
    pub fn by_key(&self, presented: &str, now: Moment) -> Result<Identity, Refused> {
        let (prefix, secret) = split_key(presented).ok_or(Refused::Key)?;
        let known = held(&self.keys).get(prefix).cloned();
        let plain = plain_hash(secret);
        let kept = known.as_ref().map(|known| known.key.secret_hash.as_str());
        let keyed = self.secret.matches(kept, KEY_PURPOSE, &[prefix.as_bytes(), plain.as_bytes()]);
        // Only while a rehash at the start has failed: a plain hash of before.
        let old =
            kept.is_some_and(|kept| is_plain(kept) && bool::from(kept.as_bytes().ct_eq(plain.as_bytes())));
        let known = known.filter(|known| (keyed || old) && known.is_open(now)).ok_or(Refused::Key)?;
        known.used.last.store(now.0, Ordering::Relaxed);
        Ok(Identity {
            actor: format!("key:{}", known.key.lineage),
            key_prefix: Some(known.key.prefix.clone()),
            scopes: Arc::clone(&known.scopes),
            reach: Arc::clone(&known.reach),
            standing: Standing::Key { prefix: known.key.prefix.clone(), lineage: known.key.lineage.clone() },
        })
    }

    /// The holder of a presented token.
    ///
    /// # Errors
    /// [`Refused::Token`].
    pub fn by_token(&self, presented: &str, now: Moment) -> Result<Identity, Refused> {
        self.judge(presented, now).map_err(Refused::Token)
    }

    fn judge(&self, presented: &str, now: Moment) -> Result<Identity, TokenFault> {
        let read = Presented::read(presented)?;
        if read.issuer == self.own.0 {
            let key = held(&self.tokens).verifying.get(&read.kid).cloned().ok_or(TokenFault::UnknownKey)?;
            let (issuer, signed_by) = (read.issuer.clone(), (read.kid.clone(), key.mark));
            let token = read.believe(&key, (&self.own.1, Some(ACCESS_TYPE)), now)?;
            let user = self.user_of(&token).ok_or(TokenFault::Revoked)?;
            let said: Scopes = token.scopes.iter().cloned().collect();
            let scopes = Arc::new(said.within(&user.scopes));
            return Ok(Identity {
                actor: named(&user.user.name, &user.reach),
                key_prefix: None,
                scopes,
                reach: Arc::clone(&user.reach),
                standing: Standing::Token {
                    issuer,
                    key: signed_by,
                    token: Box::new(token),
                    version: Some(user.user.version),
                },
            });
        }
        let issuer = self.issuers.iter().find(|known| known.rules.issuer == read.issuer);
        let issuer = issuer.ok_or(TokenFault::UnknownIssuer)?;
        let Some(key) = issuer.key(&read.kid) else {
            self.wanted.notify_one();
            return Err(TokenFault::UnknownKey);
        };
        let (rules, signed_by) = (&issuer.rules, (read.kid.clone(), key.mark));
        let token = read.believe(&key, (&rules.audience, rules.typ.as_deref()), now)?;
        if self.is_revoked(&rules.issuer, &token) {
            return Err(TokenFault::Revoked);
        }
        let owner = token.text(&rules.owner_claim).ok_or(TokenFault::BadClaims)?;
        let owner = format!("{}{owner}", rules.owner_prefix);
        let said: Scopes = token.scopes.iter().cloned().collect();
        let scopes = said.within(&rules.ceiling);
        let reach = reach_of(&owner, &scopes, None);
        Ok(Identity {
            actor: format!("token:{}#{}{}", rules.issuer, escaped(&token.sub), mark_of(&reach)),
            key_prefix: None,
            scopes: Arc::new(scopes),
            reach,
            standing: Standing::Token {
                issuer: rules.issuer.clone(),
                key: signed_by,
                token: Box::new(token),
                version: None,
            },
        })
    }

    /// The user of one of our own tokens, if token, session and user are still good.
    fn user_of(&self, token: &Believed) -> Option<Arc<KnownUser>> {
        let user = held(&self.users).get(&Uuid::try_parse(&token.sub).ok()?).cloned()?;
        let session = Uuid::try_parse(token.sid.as_deref()?).ok()?;
        // Tokens tell whole seconds.
        let current = token.issued_at?.plus(1_000_000) > user.user.valid_from;
        let active = user.user.status == UserStatus::Active && current;
        (active && !held(&self.ended).contains(&session)).then_some(user)
    }

    fn is_revoked(&self, issuer: &str, token: &Believed) -> bool {
        let tokens = held(&self.tokens);
        let of =
            |claim, value: &str| tokens.revoked.get(&(issuer.to_owned(), claim, value.to_owned())).copied();
        let by_id = token.jti.as_deref().is_some_and(|jti| of("jti", jti).is_some());
        // Its clock may be ahead by as much as is allowed for: what it dates later may have been issued before.
        let before = of("sub", &token.sub).map(|until| until.plus(LEEWAY));
        by_id || before.is_some_and(|until| token.issued_at.is_none_or(|issued| issued <= until))
    }

    /// Whether what let somebody in still does.
    pub fn stands(&self, standing: &Standing, now: Moment) -> bool {
        match standing {
            Standing::Always => true,
            Standing::Key { prefix, .. } => {
                held(&self.keys).get(prefix).is_some_and(|known| known.is_open(now))
            }
            Standing::Token { issuer, key, token, version } => {
                let good = if *issuer == self.own.0 {
                    self.user_of(token).is_some_and(|user| Some(user.user.version) == *version)
                } else {
                    !self.is_revoked(issuer, token)
                };
                good && token.expires_at > now && self.verifies(issuer, key)
            }
        }
    }

    /// Whether an issuer still has the key that a token was signed with: one that is gone verifies nothing any more.
    fn verifies(&self, issuer: &str, (kid, mark): &(String, KeyMark)) -> bool {
        if *issuer == self.own.0 {
            return held(&self.tokens).verifying.get(kid).is_some_and(|key| key.mark == *mark);
        }
        self.issuers
            .iter()
            .find(|known| known.rules.issuer == issuer)
            .is_some_and(|known| known.has(kid, *mark))
    }

    /// The key that signs our own tokens, and when it was made.
    pub fn signer(&self) -> Option<(Arc<Signer>, Moment)> {
        let tokens = held(&self.tokens);
        let signer = tokens.signer.clone()?;
        let made = tokens.keys.iter().find(|key| key.kid == signer.kid)?.created_at;
        Some((signer, made))
    }

    /// Public halves of keys whose tokens can be alive.
    pub fn signing_keys(&self, now: Moment) -> Vec<SigningKey> {
        held(&self.tokens).keys.iter().filter(|key| signing::verifies(key, now)).cloned().collect()
    }

    /// When a key was last used; `kept` is what the database says.
    pub fn last_used(&self, prefix: &str, kept: Option<Moment>) -> Option<Moment> {
        let known = held(&self.keys).get(prefix).map(|known| known.used.last.load(Ordering::Relaxed));
        known.filter(|at| *at != 0).map(Moment).max(kept)
    }

    /// Keeps when keys were last used, of those used since the last time.
    ///
    /// # Errors
    /// The database's.
    pub async fn keep_uses(&self, db: &Database) -> Result<(), StorageError> {
        let keys = held(&self.keys);
        let used = |known: &KnownKey| {
            let last = known.used.last.load(Ordering::Relaxed);
            (last != known.used.kept.load(Ordering::Relaxed))
                .then_some((known.key.prefix.clone(), Moment(last)))
        };
        let fresh: Vec<(String, Moment)> = keys.values().filter_map(|known| used(known)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let kept = fresh.clone();
        let note = db.writer().housekeep(move |tx| {
            Box::pin(async move {
                for (prefix, at) in &fresh {
                    access::note_use(tx, prefix, *at).await?;
                }
                Ok::<(), StorageError>(())
            })
        });
        note.await?;
        for (prefix, at) in kept {
            if let Some(known) = keys.get(&prefix) {
                known.used.kept.store(at.0, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// A name as a part of an actor's: nobody chooses one that reads like that of somebody else.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '%' => text.push_str("%25"),
            '@' => text.push_str("%40"),
            '#' => text.push_str("%23"),
            '/' => text.push_str("%2F"),
            '*' => text.push_str("%2A"),
            plain => text.push(plain),
        }
    }
    text
}

/// What tells apart the reaches one user or subject can have in the course of time: answers that are kept for one are
/// not given to another.
fn mark_of(reach: &Reach) -> String {
    let owner = if reach.any_owner { "*".to_owned() } else { escaped(&reach.owner_id) };
    let Some(only) = &reach.portfolios else { return format!("@{owner}") };
    let names: Vec<String> = only.iter().map(ToString::to_string).collect();
    format!("@{owner}/{}", plain_hash(&names.join(" ")))
}

impl KnownKey {
    fn of(key: ApiKey, before: Option<&Arc<Self>>) -> Self {
        let scopes = Scopes::parse(&key.scopes);
        let reach = reach_of(&key.owner_id, &scopes, key.portfolios.as_deref());
        let last = key.last_used_at.map_or(0, |at| at.0);
        let fresh = || Arc::new(Uses { last: AtomicI64::new(last), kept: AtomicI64::new(last) });
        let used = before.map_or_else(fresh, |before| Arc::clone(&before.used));
        Self { key, scopes: Arc::new(scopes), reach, used }
    }

    fn is_open(&self, now: Moment) -> bool {
        self.key.revoked_at.is_none() && self.key.expires_at.is_none_or(|end| end > now)
    }
}

impl From<User> for KnownUser {
    fn from(user: User) -> Self {
        let scopes = Scopes::parse(&user.scopes);
        let reach = reach_of(&user.owner_id, &scopes, user.portfolios.as_deref());
        Self { user, scopes: Arc::new(scopes), reach }
    }
}

impl TokenKeys {
    fn of(secret: &ServerSecret, keys: Vec<SigningKey>, revoked: Vec<token_keys::Revocation>) -> Self {
        let verifying = keys.iter().filter_map(|key| Some((key.kid.clone(), signing::verifying(key)?)));
        let mut current = keys.iter().filter(|key| key.retired_at.is_none());
        let signer = current.find_map(|key| Signer::of(secret, key)).map(Arc::new);
        let revoked = revoked.into_iter().filter_map(|one| {
            let claim = ["jti", "sub"].into_iter().find(|name| *name == one.claim)?;
            Some(((one.issuer, claim, one.value), one.revoked_at))
        });
        Self { verifying: verifying.collect(), signer, revoked: revoked.collect(), keys }
    }
}

#[cfg(test)]
mod tests;
