-- name: insert_key(key_id, name, role, salt, hash, created_at)!
insert into api_keys (key_id, name, role, salt, hash, created_at)
values (:key_id, :name, :role, :salt, :hash, :created_at)
on conflict (name) where revoked_at is null do nothing;

-- name: keys()
select * from api_keys order by created_at, key_id;

-- name: keys_in_use()
select * from api_keys where revoked_at is null;

-- name: revoke(name, now)!
update api_keys set revoked_at = :now where (name = :name or key_id = :name) and revoked_at is null;

-- name: set_last_used(key_id, at)!
update api_keys set last_used_at = :at
where key_id = :key_id and (last_used_at is null or last_used_at < :at);
