//! One-time passwords as a second factor: whoever has one shows it, and each is good once.

use super::{Guarded, PASSWORD};
use crate::on_both;
use artifact::workers::gate::Settings;
use aws_lc_rs::hmac;
use serde_json::{Value, json};

/// The one-time password of a secret in base 32 at a second (RFC 4226, 5.3; RFC 6238, 4.2).
fn otp(secret: &str, seconds: i64) -> String {
    let mut bits = Vec::new();
    for letter in secret.bytes() {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            other => other - b'2' + 26,
        };
        bits.extend((0..5).rev().map(|place| digit >> place & 1));
    }
    let bytes: Vec<u8> =
        bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    let mac = hmac::sign(&key, &(seconds / 30).to_be_bytes());
    let mac = mac.as_ref();
    let at = usize::from(mac[19] & 15);
    let number = u32::from_be_bytes(mac[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

#[test]
fn the_one_time_passwords_of_these_tests_are_those_of_the_standard() {
    // RFC 6238, appendix B, the last six digits of eight; its secret is 12345678901234567890.
    let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    for (seconds, expected) in
        [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")]
    {
        assert_eq!(otp(secret, seconds), expected, "{seconds}");
    }
}

/// 2026-11-23T12:00:00Z, when the tests begin.
const START: i64 = 1_795_435_200;

/// A user who has a second factor, or is about to.
struct Person<'a> {
    guarded: &'a Guarded,
    name: &'static str,
}

impl Person<'_> {
    async fn send(&self, path: &str, more: Value) -> crate::support::Reply {
        let mut body = json!({ "name": self.name, "password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.guarded.by("", "POST", path, Some(&body)).await
    }

    async fn login(&self, otp: &str) -> crate::support::Reply {
        self.send("/auth/login", json!({ "otp": otp })).await
    }

    /// Sets a factor up; its secret.
    async fn set_up(&self, more: Value) -> String {
        let reply = self.send("/auth/second-factor", more).await;
        assert_eq!(reply.headers["cache-control"], "no-store");
        reply.expect(200)["secret"].as_str().unwrap().to_owned()
    }

    async fn confirm(&self, otp: &str) -> u16 {
        self.send("/auth/second-factor/confirm", json!({ "otp": otp })).await.status.as_u16()
    }
}

fn clock(guarded: &Guarded, seconds: i64) {
    guarded.app.set_clock(&format!("2026-11-23T12:{:02}:{:02}Z", seconds / 60, seconds % 60));
}

on_both! {
    async fn a_second_factor_is_shown_with_each_login_once_it_was_proven(backend) {
        let guarded = Guarded::start(backend).await;
        guarded.user("alice", &["markets:read"]).await;
        let alice = Person { guarded: &guarded, name: "alice" };
        assert_eq!(alice.send("/auth/second-factor/confirm", json!({ "otp": "000000" })).await.code(401), "unauthorized", "none was set up");
        let secret = alice.set_up(json!({})).await;
        assert_eq!(secret.len(), 32, "160 bits");
        guarded.login("alice", PASSWORD).await.expect(200);
        assert_eq!(alice.send("/auth/second-factor/confirm", json!({})).await.pointers(), ["/otp"]);
        assert_eq!(alice.confirm(&otp(&secret, START + 90)).await, 401, "of a time to come");
        assert_eq!(alice.confirm(&otp(&secret, START)).await, 204);

        assert_eq!(guarded.login("alice", PASSWORD).await.code(401), "second_factor_required");
        assert_eq!(guarded.login("alice", "wrong horse battery staple").await.code(401), "unauthorized", "nothing is told of the factor");
        assert_eq!(alice.login(&otp(&secret, START)).await.code(401), "unauthorized", "it was used to prove the factor");
        let next = otp(&secret, START + 30);
        alice.login(&next).await.expect(200);
        assert_eq!(alice.login(&next).await.code(401), "unauthorized", "each is good once");
        clock(&guarded, 90);
        assert_eq!(alice.login(&otp(&secret, START + 30)).await.code(401), "unauthorized", "two steps ago");
        let of_before = otp(&secret, START + 60);
        let now = otp(&secret, START + 90);
        let tokens = alice.login(&now).await.expect(200);
        assert_eq!(alice.login(&of_before).await.code(401), "unauthorized", "a later one was used");
        // Far enough apart that each is looked at.
        let mut tried = 130;
        for odd in ["", "12345", "1234567", " 123456", "abcdef", "\u{661}\u{662}\u{663}\u{664}\u{665}\u{666}"] {
            tried += 70;
            clock(&guarded, tried);
            assert!(matches!(alice.login(odd).await.status.as_u16(), 401 | 422), "{odd}");
        }

        // Who has it can be refused nothing that the password alone could do before.
        clock(&guarded, 600);
        let change = json!({ "new_password": "staple battery horse correct" });
        assert_eq!(alice.send("/auth/password", change).await.code(401), "second_factor_required");
        clock(&guarded, 700);
        assert_eq!(alice.send("/auth/sessions/end", json!({})).await.code(401), "second_factor_required");
        clock(&guarded, 800);
        assert_eq!(alice.send("/auth/second-factor/remove", json!({})).await.code(401), "second_factor_required");
        clock(&guarded, 900);
        assert_eq!(alice.send("/auth/sessions/end", json!({ "otp": otp(&secret, START + 900) })).await.status, 204);
        let refresh = json!({ "refresh_token": tokens["refresh_token"] });
        assert_eq!(guarded.by("", "POST", "/auth/refresh", Some(&refresh)).await.status, 401);
        clock(&guarded, 930);
        assert_eq!(alice.send("/auth/second-factor/remove", json!({ "otp": otp(&secret, START + 930) })).await.status, 204);
        guarded.login("alice", PASSWORD).await.expect(200);

        let rows = guarded.by(&guarded.admin, "GET", "/audit?limit=1000", None).await;
        let text = rows.text();
        for action in ["user.second_factor.begin", "user.second_factor.confirm", "user.second_factor.remove"] {
            assert!(text.contains(action), "{action}");
        }
        assert!(!text.contains(&secret));
        guarded.app.stop().await;
    }

    async fn another_factor_takes_the_place_of_the_first_once_it_was_proven(backend) {
        let guarded = Guarded::start(backend).await;
        guarded.user("alice", &["markets:read"]).await;
        let alice = Person { guarded: &guarded, name: "alice" };
        let first = alice.set_up(json!({})).await;
        assert_eq!(alice.confirm(&otp(&first, START)).await, 204);
        assert_eq!(alice.send("/auth/second-factor", json!({})).await.code(401), "second_factor_required");
        clock(&guarded, 60);
        let second = alice.set_up(json!({ "otp": otp(&first, START + 60) })).await;
        assert_ne!(first, second);
        clock(&guarded, 120);
        alice.login(&otp(&first, START + 120)).await.expect(200);
        assert_eq!(alice.login(&otp(&second, START + 150)).await.code(401), "unauthorized", "it is not in force yet");
        assert_eq!(alice.confirm(&otp(&second, START + 120)).await, 204);
        clock(&guarded, 180);
        assert_eq!(alice.login(&otp(&first, START + 180)).await.code(401), "unauthorized");
        alice.login(&otp(&second, START + 180)).await.expect(200);

        // One who has lost it goes to an administrator.
        let gone = guarded.by(&guarded.admin, "DELETE", "/users/alice/second-factor", None).await;
        assert_eq!(gone.status, 204);
        clock(&guarded, 240);
        guarded.login("alice", PASSWORD).await.expect(200);
        assert_eq!(guarded.by(&guarded.admin, "DELETE", "/users/nobody/second-factor", None).await.code(404), "user_not_found");
        guarded.app.stop().await;
    }

    async fn where_a_second_factor_is_required_nobody_logs_in_without_one(backend) {
        let guarded =
            Guarded::start_with(backend, |_| Settings { second_factor_required: true, ..Settings::default() }).await;
        for name in ["alice", "bob"] {
            let body = json!({ "name": name, "password": PASSWORD, "scopes": ["markets:read"] });
            guarded.admin("POST", "/users", &body).await.expect(201);
        }
        let alice = Person { guarded: &guarded, name: "alice" };
        let refused = guarded.login("alice", PASSWORD).await;
        assert!(refused.text().contains("POST /auth/second-factor"), "{}", refused.text());
        assert_eq!(refused.code(401), "second_factor_required");
        let secret = alice.set_up(json!({})).await;
        assert_eq!(guarded.login("alice", PASSWORD).await.code(401), "second_factor_required", "it is not proven yet");
        assert_eq!(alice.confirm(&otp(&secret, START)).await, 204);
        clock(&guarded, 60);
        alice.login(&otp(&secret, START + 60)).await.expect(200);
        let bob = Person { guarded: &guarded, name: "bob" };
        assert_eq!(bob.login(&otp(&secret, START + 90)).await.code(401), "second_factor_required", "another one's");
        guarded.app.stop().await;
    }

    async fn guesses_of_a_one_time_password_are_slowed_down_like_those_of_a_password(backend) {
        let guarded = Guarded::start(backend).await;
        guarded.user("alice", &["markets:read"]).await;
        let alice = Person { guarded: &guarded, name: "alice" };
        let secret = alice.set_up(json!({})).await;
        assert_eq!(alice.confirm(&otp(&secret, START)).await, 204);
        clock(&guarded, 600);
        let right = otp(&secret, START + 600);
        let mut waits = 0;
        for guess in 0..12 {
            let wrong = format!("{:06}", (right.parse::<u32>().unwrap() + 7 + guess) % 1_000_000);
            waits += u32::from(alice.login(&wrong).await.status == 429);
        }
        assert_eq!(waits, 7, "five are free");
        assert_eq!(alice.login(&right).await.status, 429, "right or wrong is not told");
        guarded.app.stop().await;
    }
}
