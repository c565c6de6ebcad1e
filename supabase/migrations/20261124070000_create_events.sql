-- Events, heads, dead letters and the content hash. Harmless when applied again.
-- Needs PostgreSQL 15 or later and Supabase's roles (anon, authenticated, service_role).

create schema if not exists crossfade;
comment on schema crossfade is
  'Crossfade''s tables. Not exposed: every call is a function in public.';
revoke all on schema crossfade from public, anon;
grant usage on schema crossfade to authenticated, service_role;

-- First 64 bits of SHA-256 over position and content, fields separated by U+001F; the same
-- expression as content_hash in crossfade/core/event.py. IMMUTABLE although convert_to is
-- only STABLE (it depends on the database's encoding, which never changes), because a
-- generated column needs it; the time is taken as a difference from 1970, which does not
-- depend on the session's time zone.
create or replace function crossfade.content_hash_v1(
  source text, epoch bigint, topic text, partition integer, sequence bigint,
  id text, type text, "time" timestamptz, subject text, category text, data text
) returns bigint
language plpgsql immutable strict parallel safe
set search_path = ''
as $$
begin
  return ('x' || encode(substring(sha256(convert_to(
    concat_ws(
      e'\x1f', source, epoch, topic, partition, sequence, id, type,
      (extract(epoch from "time" - '1970-01-01 00:00:00+00'::timestamptz) * 1000000)::bigint,
      subject, category, data
    ), 'UTF8')) from 1 for 8), 'hex'))::bit(64)::bigint;
end
$$;

create table if not exists crossfade.events (
  source      text not null check (source <> ''),
  epoch       bigint not null check (epoch >= 0),
  topic       text not null check (topic <> ''),
  partition   integer not null check (partition >= 0),
  sequence    bigint not null check (sequence >= 1),
  id          text not null check (id <> ''),
  type        text not null,
  "time"      timestamptz not null,
  subject     text not null,
  category    text not null,
  data        text not null,
  checksum    bigint not null,
  hash        bigint not null generated always as (
    crossfade.content_hash_v1(
      source, epoch, topic, partition, sequence, id, type, "time", subject, category, data
    )
  ) stored,
  inserted_at timestamptz not null default clock_timestamp(),
  primary key (source, epoch, topic, partition, sequence),
  constraint events_id_unique unique (id)
);
comment on column crossfade.events.data is 'canonical JSON text, verbatim as it was published';
comment on column crossfade.events.checksum is 'the hash that travelled with the event';
comment on column crossfade.events.hash is
  'recomputed here from position and content; differs from checksum when the row was altered';

create table if not exists crossfade.heads (
  source     text not null,
  epoch      bigint not null,
  topic      text not null,
  partition  integer not null check (partition >= 0),
  sequence   bigint not null check (sequence >= 0),
  floor      bigint not null check (floor >= 1),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (source, epoch, topic, partition)
);
comment on table crossfade.heads is
  'per stream the last sequence that its publisher committed and the first one it still holds';

create table if not exists crossfade.dead_letters (
  id          bigint generated always as identity primary key,
  received_at timestamptz not null default clock_timestamp(),
  reason      text not null check (reason in ('position', 'id')),
  source      text not null,
  epoch       bigint not null,
  topic       text not null,
  partition   integer not null,
  sequence    bigint not null,
  event_id    text not null,
  stored      bigint not null,
  offered     bigint not null,
  data        text not null,
  constraint dead_letters_once unique (source, epoch, topic, partition, sequence, offered)
);
comment on table crossfade.dead_letters is
  'events that were offered for a position or with an id already held with another content';

alter table crossfade.events enable row level security;
alter table crossfade.heads enable row level security;
alter table crossfade.dead_letters enable row level security;

-- No policies: nobody but the owner and the functions below reaches the tables; the server
-- key may look.
revoke all on all tables in schema crossfade from public, anon, authenticated, service_role;
grant select on crossfade.events, crossfade.heads, crossfade.dead_letters to service_role;
revoke all on function crossfade.content_hash_v1(
  text, bigint, text, integer, bigint, text, text, timestamptz, text, text, text
) from public, anon, authenticated;
