-- Who may call the HTTP API. Of a key the database knows its public beginning and a salted hash, never the key.

create table api_keys (
    key_id       text primary key check (key_id ~ '^[0-9a-f]{12}$'),
    name         text not null check (name <> ''),
    role         text not null check (role in ('application', 'viewer', 'operator', 'approver')),
    salt         bytea not null check (length(salt) = 16),
    hash         bytea not null check (length(hash) = 32),
    created_at   timestamptz not null,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
comment on table api_keys is 'Keys of the HTTP API; a revoked one stays, so that the log can say whose it was.';
comment on column api_keys.key_id is 'The part of the key that may be shown: what a key is looked up by.';
comment on column api_keys.hash is 'BLAKE2b of the key with its salt. Keys are 256 random bits: nothing to guess, so no slow hash.';
comment on column api_keys.last_used_at is 'To the minute.';
create unique index api_keys_name on api_keys (name) where revoked_at is null;
comment on index api_keys_name is 'Two keys in use have two names.';

create function api_keys_guard() returns trigger language plpgsql as $$
begin
    if tg_op <> 'UPDATE' then
        raise exception 'api_keys: % is refused; a key is revoked, not removed', tg_op using errcode = 'BK005';
    end if;
    if (new.key_id, new.name, new.role, new.salt, new.hash, new.created_at)
       is distinct from (old.key_id, old.name, old.role, old.salt, old.hash, old.created_at) then
        raise exception 'key % cannot be changed, only revoked', old.name using errcode = 'BK005';
    end if;
    if old.revoked_at is not null and new.revoked_at is distinct from old.revoked_at then
        raise exception 'key % was revoked and stays so', old.name using errcode = 'BK005';
    end if;
    return new;
end $$;
create trigger api_keys_guard before update or delete on api_keys for each row execute function api_keys_guard();
create trigger api_keys_no_truncate before truncate on api_keys for each statement execute function api_keys_guard();

do $$
begin
    execute format('alter function api_keys_guard() set search_path = %I, pg_temp', current_schema());
end $$;
