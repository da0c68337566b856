-- Holdings of one asset as they stood after every row up to a moment: a late entry is folded from the newest one before
-- it. Rows can be deleted at any time; the fold then begins earlier.
CREATE TABLE book_checkpoints (
    portfolio_id  UUID NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    asset_key     BIGINT NOT NULL REFERENCES assets (asset_key),
    folded_to     BIGINT NOT NULL,
    state         TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (portfolio_id, asset_key, folded_to)
);

CREATE INDEX transactions_by_holding ON transactions (portfolio_id, asset_key, executed_at);
CREATE INDEX transactions_like_actions ON transactions (portfolio_id, asset_key) WHERE kind IN ('split', 'dividend');
CREATE INDEX transactions_that_replace ON transactions (portfolio_id) WHERE replaces IS NOT NULL;
CREATE INDEX positions_by_asset ON positions (portfolio_id, asset_key);
