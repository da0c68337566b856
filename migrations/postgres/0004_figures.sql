-- What the fold of each ledger yields, kept in the transaction that records an entry. stale = 1 when a fact the
-- fold used has changed since (a rate); reads then fold anew, and the next entry does too.
CREATE TABLE ledger_states (
    portfolio_id  UUID NOT NULL PRIMARY KEY REFERENCES portfolios (id) ON DELETE CASCADE,
    last_at       BIGINT NOT NULL,
    entries       BIGINT NOT NULL,
    foreign_money BOOLEAN NOT NULL,
    stale         BOOLEAN NOT NULL,
    state         TEXT COLLATE "C" NOT NULL
);

CREATE TABLE holdings (
    portfolio_id  UUID NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    account       TEXT COLLATE "C" NOT NULL,
    asset_key     BIGINT NOT NULL REFERENCES assets (asset_key),
    position_id   UUID,
    state         TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (portfolio_id, account, asset_key)
);
CREATE INDEX holdings_open_by_asset ON holdings (asset_key) WHERE position_id IS NOT NULL;

CREATE TABLE lots (
    portfolio_id  UUID NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    account       TEXT COLLATE "C" NOT NULL,
    asset_key     BIGINT NOT NULL REFERENCES assets (asset_key),
    number        BIGINT NOT NULL,
    state         TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (portfolio_id, account, asset_key, number)
);

-- Issued position ids. An id whose position no longer exists keeps its row and names its successor.
CREATE TABLE positions (
    id            UUID NOT NULL PRIMARY KEY,
    portfolio_id  UUID NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    issued_seq    BIGINT NOT NULL UNIQUE,
    account       TEXT COLLATE "C" NOT NULL,
    asset_key     BIGINT NOT NULL REFERENCES assets (asset_key),
    ordinal       BIGINT,
    status        TEXT COLLATE "C" NOT NULL,
    successor     UUID,
    state         TEXT COLLATE "C",
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
CREATE INDEX positions_by_holding ON positions (portfolio_id, account, asset_key, ordinal);

-- Which transaction took part in which position, as known between recorded_at and ended_at.
CREATE TABLE position_members (
    seq            BIGINT NOT NULL PRIMARY KEY,
    portfolio_id   UUID NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    transaction_id UUID NOT NULL REFERENCES transactions (id) ON DELETE CASCADE,
    position_id    UUID NOT NULL REFERENCES positions (id) ON DELETE CASCADE,
    recorded_at    BIGINT NOT NULL,
    ended_at       BIGINT
);
CREATE INDEX position_members_by_portfolio ON position_members (portfolio_id, transaction_id);
CREATE INDEX position_members_by_position ON position_members (position_id);
