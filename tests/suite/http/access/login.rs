//! Users: passwords, tokens of our own, refreshing, ending.

use super::{Guarded, PASSWORD, text};
use crate::on_both;
use artifact::domain::moment::{HOUR, Moment};
use artifact::storage::users;
use artifact::workers::gate::Settings;
use serde_json::{Value, json};

async fn refresh(guarded: &Guarded, token: &str) -> crate::support::Reply {
    guarded.by("", "POST", "/auth/refresh", Some(&json!({ "refresh_token": token }))).await
}

async fn status(guarded: &Guarded, tokens: &Value) -> u16 {
    guarded.by(text(tokens, "access_token"), "GET", "/auth/me", None).await.status.as_u16()
}

on_both! {
    async fn a_user_logs_in_and_is_who_it_is(backend) {
        let guarded = Guarded::start(backend).await;
        let body = json!({ "name": "Alice", "password": PASSWORD, "scopes": ["portfolios:read", "markets:read"] });
        let made = guarded.admin("POST", "/users", &body).await;
        assert!(!made.text().contains("argon2") && !made.text().contains(PASSWORD));
        assert_eq!(made.headers["location"], format!("/users/{}", made.json()["id"].as_str().unwrap()));
        assert_eq!(text(&made.expect(201), "name"), "alice");
        let reply = guarded.login("ALICE", PASSWORD).await;
        assert_eq!(reply.headers["cache-control"], "no-store");
        let tokens = reply.expect(200);
        assert_eq!((text(&tokens, "token_type"), tokens["expires_in"].as_i64()), ("Bearer", Some(600)));
        let me = guarded.by(text(&tokens, "access_token"), "GET", "/auth/me", None).await.expect(200);
        assert_eq!((text(&me, "owner_id"), &me["scopes"]), ("alice", &json!(["markets:read", "portfolios:read"])));
        assert_eq!(guarded.by(text(&tokens, "access_token"), "GET", "/users", None).await.code(403), "forbidden");
        guarded.app.set_clock("2026-11-23T12:10:31Z");
        assert_eq!(status(&guarded, &tokens).await, 401, "expired, leeway and all");
        assert_eq!(guarded.admin("POST", "/users", &body).await.code(409), "duplicate_user");
        guarded.app.stop().await;
    }

    async fn an_unknown_user_and_a_wrong_password_look_and_cost_alike(backend) {
        let guarded = Guarded::start(backend).await;
        guarded.user("alice", &["markets:read"]).await;
        guarded.user("ended", &["markets:read"]).await;
        guarded.by(&guarded.admin, "POST", "/users/ended/disable", None).await.expect(200);
        let passwords = &guarded.app.app.state.gate.passwords;
        let mut answers = Vec::new();
        for (name, password) in [("alice", "wrong horse battery staple"), ("nobody", PASSWORD), ("ended", PASSWORD), ("a b/c", PASSWORD), ("alice", "")] {
            let before = passwords.computed();
            let reply = guarded.login(name, password).await;
            assert_eq!(passwords.computed() - before, 1, "{name}: one hash each");
            let mut body = reply.expect(401);
            body.as_object_mut().unwrap().remove("request_id");
            answers.push(body);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:#?}");
        // Whoever may read the trail sees which user it was about.
        let id = async |name: &str| {
            guarded.by(&guarded.admin, "GET", &format!("/users/{name}"), None).await.expect(200)["id"].clone()
        };
        let (alice, ended) = (id("alice").await, id("ended").await);
        let rows = guarded.by(&guarded.admin, "GET", "/audit?action=access.authenticate", None).await.expect(200);
        let sought: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row["after"]["user"]).collect();
        assert_eq!(sought, [&alice, &Value::Null, &ended, &Value::Null, &alice]);
        guarded.app.stop().await;
    }

    async fn guesses_are_slowed_down_and_the_right_user_is_let_in_after_the_wait(backend) {
        let guarded = Guarded::start(backend).await;
        guarded.user("alice", &["markets:read"]).await;
        let mut refused = 0;
        for _ in 0..12 {
            let reply = guarded.login("alice", "wrong horse battery staple").await;
            if reply.status == 429 {
                assert_eq!(reply.code(429), "too_many_requests");
                let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((1..=60).contains(&wait), "{wait}");
                refused += 1;
            }
        }
        assert_eq!(refused, 7, "five are free");
        let before = guarded.app.app.state.gate.passwords.computed();
        assert_eq!(guarded.login("alice", PASSWORD).await.status, 429, "right or wrong is not told either");
        assert_eq!(guarded.app.app.state.gate.passwords.computed(), before, "and costs nothing");
        guarded.app.set_clock("2026-11-23T12:01:00Z");
        guarded.login("alice", PASSWORD).await.expect(200);
        guarded.login("alice", PASSWORD).await.expect(200);
        guarded.app.stop().await;
    }

    async fn a_refresh_token_is_good_once_and_its_reuse_ends_the_login(backend) {
        let guarded = Guarded::start(backend).await;
        let first = guarded.user("alice", &["markets:read"]).await;
        let other = guarded.login("alice", PASSWORD).await.expect(200);
        let second = refresh(&guarded, text(&first, "refresh_token")).await.expect(200);
        assert_ne!(text(&first, "refresh_token"), text(&second, "refresh_token"));
        assert_eq!((status(&guarded, &first).await, status(&guarded, &second).await), (200, 200));
        assert_eq!(refresh(&guarded, text(&first, "refresh_token")).await.code(401), "unauthorized");
        assert_eq!(refresh(&guarded, text(&second, "refresh_token")).await.code(401), "unauthorized", "the thief's and the owner's alike");
        assert_eq!((status(&guarded, &first).await, status(&guarded, &second).await), (401, 401), "access tokens too");
        assert_eq!(status(&guarded, &other).await, 200, "another login of the user goes on");
        let good = text(&other, "refresh_token");
        for bad in ["", "art-refresh_", "nonsense", &good[..good.len() - 1], &format!("{good}0"), &good.replace("art-refresh", "art"), &good.to_uppercase()] {
            let reply = refresh(&guarded, bad).await;
            assert!(matches!(reply.status.as_u16(), 401 | 422), "{bad}: {}", reply.text());
        }
        refresh(&guarded, good).await.expect(200);
        guarded.app.stop().await;
    }

    async fn logins_end_by_logout_by_time_by_password_and_by_the_administrator(backend) {
        let guarded = Guarded::start(backend).await;
        let by_logout = guarded.user("alice", &["markets:read"]).await;
        let out = async |tokens: &Value| guarded.by("", "POST", "/auth/logout", Some(&json!({ "refresh_token": tokens["refresh_token"] }))).await.status.as_u16();
        assert_eq!((out(&by_logout).await, out(&by_logout).await), (204, 204));
        assert_eq!(status(&guarded, &by_logout).await, 401);
        assert_eq!(refresh(&guarded, text(&by_logout, "refresh_token")).await.status, 401);

        let by_password = guarded.login("alice", PASSWORD).await.expect(200);
        guarded.app.set_clock("2026-11-23T12:00:05Z");
        let new = "staple battery horse correct";
        for (body, pointer) in [(json!({ "name": "alice", "password": PASSWORD, "new_password": "short" }), "/new_password"), (json!({ "name": "alice", "new_password": new }), "/password")] {
            assert_eq!(guarded.by("", "POST", "/auth/password", Some(&body)).await.pointers(), [pointer]);
        }
        let wrong = json!({ "name": "alice", "password": new, "new_password": new });
        assert_eq!(guarded.by("", "POST", "/auth/password", Some(&wrong)).await.code(401), "unauthorized");
        let body = json!({ "name": "alice", "password": PASSWORD, "new_password": new });
        assert_eq!(guarded.by("", "POST", "/auth/password", Some(&body)).await.status, 204);
        assert_eq!((status(&guarded, &by_password).await, guarded.login("alice", PASSWORD).await.status.as_u16()), (401, 401));
        guarded.app.set_clock("2026-11-23T12:00:10Z");
        let by_administrator = guarded.login("alice", new).await.expect(200);
        guarded.admin("POST", "/users/alice/password", &json!({ "password": PASSWORD })).await.expect(200);
        assert_eq!(refresh(&guarded, text(&by_administrator, "refresh_token")).await.status, 401);
        guarded.app.set_clock("2026-11-23T12:00:15Z");
        let disabled = guarded.login("alice", PASSWORD).await.expect(200);
        guarded.by(&guarded.admin, "POST", "/users/alice/disable", None).await.expect(200);
        assert_eq!(status(&guarded, &disabled).await, 401);
        guarded.by(&guarded.admin, "POST", "/users/alice/enable", None).await.expect(200);
        assert_eq!(status(&guarded, &disabled).await, 401, "what was ended stays so");
        assert_eq!(refresh(&guarded, text(&disabled, "refresh_token")).await.status, 401, "and does not go on");
        guarded.app.set_clock("2026-11-23T12:00:20Z");
        let by_time = guarded.login("alice", PASSWORD).await.expect(200);
        guarded.app.set_clock("2026-11-30T12:00:21Z");
        assert_eq!(refresh(&guarded, text(&by_time, "refresh_token")).await.status, 401, "unused for a week");
        guarded.app.stop().await;
    }

    /// Logins are ended one by one; beside that, no token from before counts, whatever login it is of.
    async fn tokens_from_before_a_change_of_the_password_or_a_lock_count_no_more(backend) {
        let guarded = Guarded::start(backend).await;
        guarded.user("alice", &["markets:read"]).await;
        let valid_from = async || {
            let mut tx = guarded.app.app.state.db.read().await.unwrap();
            users::find_by_name(&mut tx, "alice").await.unwrap().unwrap().valid_from
        };
        guarded.app.set_clock("2026-11-23T12:00:05Z");
        guarded.admin("POST", "/users/alice/password", &json!({ "password": "staple battery horse correct" })).await.expect(200);
        assert_eq!(valid_from().await, Moment::parse("2026-11-23T12:00:05Z").unwrap());
        guarded.app.set_clock("2026-11-23T12:00:10Z");
        guarded.by(&guarded.admin, "POST", "/users/alice/disable", None).await.expect(200);
        let disabled = Moment::parse("2026-11-23T12:00:10Z").unwrap();
        assert_eq!(valid_from().await, disabled);
        guarded.app.set_clock("2026-11-23T12:00:15Z");
        guarded.by(&guarded.admin, "POST", "/users/alice/enable", None).await.expect(200);
        assert_eq!(valid_from().await, disabled);
        guarded.app.stop().await;
    }

    /// A token of an hour that is dated by a clock half a minute ahead is remembered for as long as it can live.
    async fn a_login_that_ended_stays_ended_for_as_long_as_its_tokens_live(backend) {
        let guarded = Guarded::start_with(backend, |_| Settings { access: HOUR, ..Settings::default() }).await;
        let tokens = guarded.user("alice", &["markets:read"]).await;
        let body = json!({ "refresh_token": tokens["refresh_token"] });
        assert_eq!(guarded.by("", "POST", "/auth/logout", Some(&body)).await.status, 204);
        guarded.app.set_clock("2026-11-23T12:59:59Z");
        // Another user is made: all of them are read again.
        let body = json!({ "name": "bob", "password": PASSWORD, "scopes": ["markets:read"] });
        guarded.admin("POST", "/users", &body).await.expect(201);
        assert_eq!(status(&guarded, &tokens).await, 401);
        guarded.app.stop().await;
    }

    async fn a_login_that_is_short_outlives_the_logins_of_others(backend) {
        let guarded = Guarded::start_with(backend, |_| Settings { session: 12 * HOUR, ..Settings::default() }).await;
        let alice = guarded.user("alice", &["markets:read"]).await;
        guarded.user("bob", &["markets:read"]).await;
        assert_eq!(status(&guarded, &alice).await, 200);
        refresh(&guarded, text(&alice, "refresh_token")).await.expect(200);
        guarded.app.stop().await;
    }

    async fn users_are_listed_page_by_page(backend) {
        let guarded = Guarded::start(backend).await;
        for name in ["alice", "bob", "carol"] {
            let body = json!({ "name": name, "password": PASSWORD, "scopes": ["markets:read"] });
            guarded.admin("POST", "/users", &body).await.expect(201);
        }
        let (mut next, mut pages) = (Some("/users?limit=2".to_owned()), Vec::new());
        while let Some(path) = next {
            let reply = guarded.by(&guarded.admin, "GET", &path, None).await;
            let page: Vec<String> = reply.expect(200).as_array().unwrap().iter().map(|user| text(user, "name").to_owned()).collect();
            pages.push(page);
            next = reply.next_page();
        }
        assert_eq!(pages, [vec!["alice", "bob"], vec!["carol"]]);
        guarded.app.stop().await;
    }

    async fn a_password_that_has_leaked_elsewhere_is_refused(backend) {
        // SHA-1 of "correct horse battery staple" and of "hunter2 hunter2 hunter2", by `sha1sum`.
        const LEAKED: &str = "ABF7AAD6438836DBE526AA231ABDE2D0EEF74D42:216\r\n";
        let guarded = Guarded::start_with(backend, |folder| {
            let file = folder.join("leaked.txt");
            std::fs::write(&file, LEAKED).unwrap();
            Settings { breached_passwords_file: Some(file), ..Settings::default() }
        })
        .await;
        let user = |password: &str| json!({ "name": "alice", "password": password, "scopes": ["markets:read"] });
        let refused = guarded.admin("POST", "/users", &user("correct horse battery staple")).await;
        assert_eq!(refused.pointers(), ["/password"]);
        assert!(refused.text().contains("has leaked elsewhere"), "{}", refused.text());
        let good = "staple battery horse correct";
        guarded.admin("POST", "/users", &user(good)).await.expect(201);
        let set = guarded.admin("POST", "/users/alice/password", &json!({ "password": "correct horse battery staple" })).await;
        assert_eq!(set.pointers(), ["/password"]);
        let own = json!({ "name": "alice", "password": good, "new_password": "correct horse battery staple" });
        assert_eq!(guarded.by("", "POST", "/auth/password", Some(&own)).await.pointers(), ["/new_password"]);
        guarded.login("alice", good).await.expect(200);
        guarded.app.stop().await;
    }

    async fn a_user_sees_its_own_logins_and_ends_them_with_its_password(backend) {
        let guarded = Guarded::start(backend).await;
        let first = guarded.user("alice", &["markets:read"]).await;
        let foreign = guarded.user("bob", &["markets:read"]).await;
        guarded.app.set_clock("2026-11-23T12:01:00Z");
        let second = guarded.login("alice", PASSWORD).await.expect(200);
        let third = guarded.login("alice", PASSWORD).await.expect(200);
        guarded.app.set_clock("2026-11-23T12:02:00Z");
        let second = refresh(&guarded, text(&second, "refresh_token")).await.expect(200);
        let list = async |tokens: &Value| {
            let seen = guarded.by(text(tokens, "access_token"), "GET", "/auth/sessions", None).await.expect(200);
            seen["sessions"].as_array().unwrap().clone()
        };
        let seen = list(&second).await;
        assert_eq!(seen.len(), 3, "{seen:?}");
        let current: Vec<&Value> = seen.iter().filter(|session| session["current"] == true).collect();
        assert_eq!(current.len(), 1, "{seen:?}");
        assert_eq!((text(current[0], "began_at"), text(current[0], "refreshed_at")), ("2026-11-23T12:01:00.000000Z", "2026-11-23T12:02:00.000000Z"));
        // A week after the refresh, and 30 days after the login: docs/ACCESS.md.
        assert_eq!((text(current[0], "refresh_by"), text(current[0], "expires_at")), ("2026-11-30T12:02:00.000000Z", "2026-12-23T12:01:00.000000Z"));
        // Commits of one moment are told apart by microseconds.
        assert!(text(&seen[2], "began_at").starts_with("2026-11-23T12:00:00.00000"), "{seen:?}");
        assert_eq!(seen[2]["refreshed_at"], Value::Null);
        assert_eq!(guarded.by(&guarded.admin, "GET", "/auth/sessions", None).await.expect(200)["sessions"], json!([]), "a key has no logins");

        let end = async |body: Value| guarded.by("", "POST", "/auth/sessions/end", Some(&body)).await;
        let of = |name: &str, password: &str, session: &Value| json!({ "name": name, "password": password, "session_id": session["id"] });
        let theirs = &list(&foreign).await[0];
        assert_eq!(end(of("alice", "wrong horse battery staple", &seen[2])).await.code(401), "unauthorized");
        assert_eq!(end(of("alice", PASSWORD, theirs)).await.code(404), "not_found", "another user's");
        assert_eq!(end(json!({ "name": "alice", "password": PASSWORD, "session_id": "mine" })).await.pointers(), ["/session_id"]);
        assert_eq!((status(&guarded, &first).await, status(&guarded, &foreign).await), (200, 200));
        assert_eq!(end(of("alice", PASSWORD, &seen[2])).await.status, 204);
        assert_eq!(end(of("alice", PASSWORD, &seen[2])).await.code(404), "not_found", "it has ended");
        assert_eq!((status(&guarded, &first).await, status(&guarded, &second).await), (401, 200));
        assert_eq!(end(json!({ "name": "alice", "password": PASSWORD })).await.status, 204);
        assert_eq!((status(&guarded, &second).await, status(&guarded, &third).await, status(&guarded, &foreign).await), (401, 401, 200));
        let rows = guarded.by(&guarded.admin, "GET", "/audit?action=session.end", None).await.expect(200);
        assert_eq!(rows.as_array().map(Vec::len), Some(3), "{rows}");
        guarded.app.stop().await;
    }

    async fn rights_that_are_taken_are_felt_by_tokens_that_are_out(backend) {
        let guarded = Guarded::start(backend).await;
        let tokens = guarded.user("alice", &["markets:read", "assets:read"]).await;
        let token = text(&tokens, "access_token");
        guarded.by(token, "GET", "/assets", None).await.expect(200);
        let patch = async |body: Value| guarded.by(&guarded.admin, "PATCH", "/users/alice", Some(&body)).await;
        patch(json!({ "scopes": ["markets:read", "prices:read"] })).await.expect(200);
        assert_eq!(guarded.by(token, "GET", "/assets", None).await.code(403), "forbidden");
        // More than the token says it is not given either, before it is refreshed.
        assert_eq!(guarded.by(token, "GET", "/prices/sources", None).await.code(403), "forbidden");
        let next = refresh(&guarded, text(&tokens, "refresh_token")).await.expect(200);
        guarded.by(text(&next, "access_token"), "GET", "/prices/sources", None).await.expect(200);
        for (body, pointer) in [(json!({ "scopes": null }), "/scopes"), (json!({ "owner_id": "bob" }), "/owner_id"), (json!({ "status": "active" }), "/status"), (json!({ "password": PASSWORD }), "/password")] {
            assert_eq!(patch(body).await.pointers(), [pointer]);
        }
        guarded.app.stop().await;
    }

    async fn the_key_that_signs_is_replaced_without_ending_anything(backend) {
        let guarded = Guarded::start(backend).await;
        let before = guarded.user("alice", &["markets:read"]).await;
        let kids = async || -> Vec<String> {
            let set = guarded.by("", "GET", "/.well-known/jwks.json", None).await.expect(200);
            assert!(!set.to_string().contains("\"d\""), "no private half");
            set["keys"].as_array().unwrap().iter().map(|key| text(key, "kid").to_owned()).collect()
        };
        let first = kids().await;
        assert_eq!(first.len(), 1);
        let made = guarded.by(&guarded.admin, "POST", "/signing-keys/rotate", None).await.expect(201);
        assert_eq!(kids().await, [text(&made, "kid"), &first[0]]);
        let after = guarded.login("alice", PASSWORD).await.expect(200);
        assert_eq!((status(&guarded, &before).await, status(&guarded, &after).await), (200, 200));
        let header = text(&after, "access_token").split('.').next().unwrap();
        let header = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header).unwrap();
        assert_eq!(text(&serde_json::from_slice(&header).unwrap(), "kid"), text(&made, "kid"));
        // Once no token of it can be alive, the old one is shown no more.
        guarded.app.set_clock("2026-11-23T13:00:31Z");
        assert_eq!(kids().await, [text(&made, "kid")]);
        // A restart signs with the same key; nothing of it is in the database but its public half.
        let Guarded { app, admin, scratch } = guarded;
        let guarded = Guarded { app: app.restart().await, admin, scratch };
        let again = guarded.login("alice", PASSWORD).await.expect(200);
        assert_eq!(status(&guarded, &again).await, 200);
        guarded.app.set_clock("2027-02-22T00:00:00Z");
        guarded.login("alice", PASSWORD).await.expect(200);
        let set = guarded.by("", "GET", "/.well-known/jwks.json", None).await.expect(200);
        assert_ne!(text(&set["keys"][0], "kid"), text(&made, "kid"), "after ninety days another one signs");
        guarded.app.stop().await;
    }

    async fn users_that_make_no_sense_are_refused_by_field(backend) {
        let guarded = Guarded::start(backend).await;
        for (body, pointers) in [
            (json!({ "name": "a b", "password": PASSWORD, "scopes": ["markets:read"] }), vec!["/name"]),
            (json!({ "name": "alice", "password": "short", "scopes": ["markets:read"] }), vec!["/password"]),
            (json!({ "name": "alice", "password": "alice alice alice", "scopes": ["markets:read"] }), vec!["/password"]),
            (json!({ "name": "alice", "password": "Qwerty123456", "scopes": ["markets:read"] }), vec!["/password"]),
            (json!({ "name": "alice", "password": "my artifact, mine", "scopes": ["markets:read"] }), vec!["/password"]),
            (json!({ "name": "alice", "scopes": ["markets:read"] }), vec!["/password"]),
            (json!({ "name": "alice", "password": 7, "scopes": ["markets:read"] }), vec!["/password"]),
            (json!({ "name": "alice", "password": PASSWORD }), vec!["/scopes"]),
            (json!({ "name": "alice", "password": PASSWORD, "scopes": ["root"] }), vec!["/scopes"]),
            (json!({ "name": "alice", "password": PASSWORD, "scopes": ["markets:read"], "password_hash": "x", "id": "y" }), vec!["/password_hash", "/id"]),
        ] {
            let reply = guarded.admin("POST", "/users", &body).await;
            assert_eq!((reply.status.as_u16(), reply.pointers()), (422, pointers.iter().map(|p| (*p).to_owned()).collect()), "{body}");
            assert!(!reply.text().contains(PASSWORD));
        }
        for path in ["/users/nobody", "/users/0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e11", "/users/a%20b"] {
            assert_eq!(guarded.by(&guarded.admin, "GET", path, None).await.code(404), "user_not_found");
        }
        assert_eq!(guarded.by(&guarded.admin, "GET", "/users", None).await.expect(200), json!([]));
        guarded.app.stop().await;
    }
}
