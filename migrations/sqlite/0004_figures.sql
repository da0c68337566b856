-- What the fold of each ledger yields, kept in the transaction that records an entry. stale = 1 when a fact the
-- fold used has changed since (a rate); reads then fold anew, and the next entry does too.
CREATE TABLE ledger_states (
    portfolio_id  BLOB NOT NULL PRIMARY KEY REFERENCES portfolios (id) ON DELETE CASCADE,
    last_at       INTEGER NOT NULL,
    entries       INTEGER NOT NULL,
    foreign_money INTEGER NOT NULL CHECK (foreign_money IN (0, 1)),
    stale         INTEGER NOT NULL CHECK (stale IN (0, 1)),
    state         TEXT NOT NULL
) STRICT;

CREATE TABLE holdings (
    portfolio_id  BLOB NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    account       TEXT NOT NULL,
    asset_key     INTEGER NOT NULL REFERENCES assets (asset_key),
    position_id   BLOB,
    state         TEXT NOT NULL,
    PRIMARY KEY (portfolio_id, account, asset_key)
) STRICT;
CREATE INDEX holdings_open_by_asset ON holdings (asset_key) WHERE position_id IS NOT NULL;

CREATE TABLE lots (
    portfolio_id  BLOB NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    account       TEXT NOT NULL,
    asset_key     INTEGER NOT NULL REFERENCES assets (asset_key),
    number        INTEGER NOT NULL,
    state         TEXT NOT NULL,
    PRIMARY KEY (portfolio_id, account, asset_key, number)
) STRICT, WITHOUT ROWID;

-- Issued position ids. An id whose position no longer exists keeps its row and names its successor.
CREATE TABLE positions (
    id            BLOB NOT NULL PRIMARY KEY,
    portfolio_id  BLOB NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    issued_seq    INTEGER NOT NULL UNIQUE,
    account       TEXT NOT NULL,
    asset_key     INTEGER NOT NULL REFERENCES assets (asset_key),
    ordinal       INTEGER,
    status        TEXT NOT NULL,
    successor     BLOB,
    state         TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX positions_by_holding ON positions (portfolio_id, account, asset_key, ordinal);

-- Which transaction took part in which position, as known between recorded_at and ended_at.
CREATE TABLE position_members (
    seq            INTEGER NOT NULL PRIMARY KEY,
    portfolio_id   BLOB NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    transaction_id BLOB NOT NULL REFERENCES transactions (id) ON DELETE CASCADE,
    position_id    BLOB NOT NULL REFERENCES positions (id) ON DELETE CASCADE,
    recorded_at    INTEGER NOT NULL,
    ended_at       INTEGER
) STRICT;
CREATE INDEX position_members_by_portfolio ON position_members (portfolio_id, transaction_id);
CREATE INDEX position_members_by_position ON position_members (position_id);
