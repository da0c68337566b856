-- One-time passwords of users. The secret that makes them follows from the server's secret and a salt: the database alone
-- makes none. `salt` is of the factor in force, `pending` of one that is not proven yet.
CREATE TABLE second_factors (
    user_id       UUID NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    salt          TEXT COLLATE "C",
    pending       TEXT COLLATE "C",
    confirmed_at  BIGINT,
    last_step     BIGINT NOT NULL
);
