//! A PostgreSQL server that takes passwords by MD5 is refused, whatever it tells of itself: a server of the test's own,
//! because how it lets people in concerns all who use it.

use super::finish;
use crate::support::Scratch;
use std::process::{Command, Stdio};

/// Gives the server a certificate and roles that come in by each method, and opens a database as each of them. Before
/// version 16 the server does not say how a session came in; what new passwords are kept as says nothing of the old ones.
const SCRIPT: &str = r#"
set -e
admin() {
    psql --quiet --no-psqlrc --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname="$ARTIFACT_TEST_POSTGRES" \
        --command="$1" </dev/null
}
make='openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'
admin "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; umask 077; exec 2>/dev/null; \
    $make -subj /CN=authority -keyout authority.key -out authority.crt && $make -CA authority.crt -CAkey authority.key \
    -subj /CN=server -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=CA:FALSE \
    -keyout server.key -out server.crt'"
admin "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; (echo host all kept 127.0.0.1/32 md5; \
    echo host all scram 127.0.0.1/32 md5; echo hostssl all kept_tls 127.0.0.1/32 md5; \
    echo hostssl all scram_tls 127.0.0.1/32 scram-sha-256; echo hostnossl all kept_tls 127.0.0.1/32 reject; \
    cat pg_hba.conf) >new_hba.conf && mv new_hba.conf pg_hba.conf'"
admin "ALTER SYSTEM SET ssl = on"
for role in kept kept_tls scram scram_tls; do
    case $role in kept*) hash=md5 ;; *) hash=scram-sha-256 ;; esac
    admin "SET password_encryption = '$hash'; CREATE ROLE $role LOGIN SUPERUSER PASSWORD 'given'"
    admin "CREATE DATABASE $role OWNER $role"
done
admin "SELECT pg_reload_conf()" >/dev/null
authority=$(admin 'SHOW data_directory')/authority.crt
server=${ARTIFACT_TEST_POSTGRES#*@}
server=${server%/*}
came_in() {
    ARTIFACT_DATABASE_URL="postgres://$2:given@$server/$2?$3" "$ARTIFACT" migrate --data "$1" >"$1.out" 2>&1 &&
        echo "$1: in" || echo "$1: $(tail -n 1 "$1.out")"
}
came_in kept kept sslmode=disable
came_in scram scram sslmode=disable
came_in kept_tls kept_tls "sslmode=verify-full&sslrootcert=$authority"
came_in scram_tls scram_tls "sslmode=verify-full&sslrootcert=$authority"
came_in unheard kept_tls sslmode=prefer
"#;

#[test]
fn a_password_that_the_server_kept_by_md5_is_not_relied_on() {
    let scratch = Scratch::new();
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/with-postgres.sh"));
    command.args(["sh", "-c", SCRIPT]).current_dir(&scratch.0);
    command.env("ARTIFACT", env!("CARGO_BIN_EXE_artifact")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = finish(command, b"").ok();
    let answers: Vec<(&str, &str)> = said.lines().filter_map(|line| line.split_once(": ")).collect();
    let md5 = |answer: &str| answer.contains("PostgreSQL takes passwords by MD5");
    for (case, answer) in &answers {
        match *case {
            "kept" | "kept_tls" => assert!(md5(answer), "{said}"),
            "scram" | "scram_tls" => assert_eq!(*answer, "in", "{said}"),
            // Encrypted as it pleases, and listened to in the clear, where it says nothing.
            _ => assert!(md5(answer) || answer.contains("could not be learnt"), "{said}"),
        }
    }
    assert_eq!(answers.len(), 5, "{said}");
}
