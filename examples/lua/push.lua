-- Reports what happens to messages and mailboxes to caddy-dovecot-push, in the
-- JSON of Dovecot's ox driver: one request for each event, with a PUT.
--
-- Dovecot waits for the answers: the mail program whose command caused the
-- events waits as well. So the timeouts are short, and after a failure the rest
-- of a transaction is not reported.

-- Where to, and with whose credentials.
local url = "https://push.internal.example:8009/preliminary/http-notify/v1/notify"
local username = "dovecot"
local password = "SECRET"

-- What to report. It must be in the option events of dovecot_push_notify.
local wanted = {
  messageNew = true,
  messageAppend = true,
  messageRead = true,
  messageTrash = true,
  messageExpunge = true,
  flagsSet = true,
  flagsClear = true,
  mailboxCreate = true,
  mailboxDelete = true,
  mailboxRename = true,
  mailboxSubscribe = true,
  mailboxUnsubscribe = true,
}

-- Folders whose new mails are not reported, also below INBOX. Whatever else
-- happens in them is.
local quiet_folders = { "Junk", "Spam", "Trash" }

-- Whether new mails are reported that are stored as read: a Sieve script has
-- marked them.
local report_read = false

-- Whether a mail is reported for each folder that it is stored in: a Sieve script
-- has filed it and kept it. Otherwise it is reported for the first one.
local report_copies = false

-- How many events of one transaction are reported at most: a user who removes ten
-- thousand messages at once does not wait for ten thousand requests.
local limit = 100

local client, authorization

-- RFC 8259.
local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function json(value)
  if type(value) == "number" then
    return string.format("%d", value)
  end
  if type(value) == "table" then
    local all = {}
    for i, v in ipairs(value) do
      all[i] = json(v)
    end
    return "[" .. table.concat(all, ",") .. "]"
  end
  return '"' .. string.gsub(tostring(value), '[%c"\\]', function(c)
    return escapes[c] or string.format("\\u%04x", string.byte(c))
  end) .. '"'
end

-- RFC 4648.
local function base64(text)
  local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = string.byte(text, i, i + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    for place = 3, 0, -1 do
      local digit = math.floor(n / 64 ^ place) % 64
      out[#out + 1] = string.sub(digits, digit + 1, digit + 1)
    end
    if not c then out[#out] = "=" end
    if not b then out[#out - 1] = "=" end
  end
  return table.concat(out)
end

function script_init()
  authorization = "Basic " .. base64(username .. ":" .. password)
  -- 2.3 takes milliseconds, and knows no request_timeout; 2.4 the other way
  -- round, and aborts for a name that it does not know.
  local ok, made = pcall(dovecot.http.client, { timeout = 1000, max_attempts = 1 })
  if not ok then
    made = dovecot.http.client({ request_timeout = "1s", request_max_attempts = "1", request_absolute_timeout = "1s" })
  end
  client = made
  return 0
end

function dovecot_lua_notify_begin_txn(user)
  return { user = user, username = user.username, events = {}, left_out = 0 }
end

-- note keeps an event for the end of its transaction. With counted, it is reported
-- with the number of unseen messages in its folder then.
local function note(ctx, event, name, members, counted)
  if not wanted[name] then
    return
  end
  if #ctx.events >= limit then
    ctx.left_out = ctx.left_out + 1
    return
  end
  local parts = {
    '"user":' .. json(ctx.username),
    '"event":' .. json(name),
    '"folder":' .. json(event.mailbox),
  }
  if event.uid then
    parts[#parts + 1] = '"imap-uidvalidity":' .. json(event.uid_validity or 0)
    parts[#parts + 1] = '"imap-uid":' .. json(event.uid)
  end
  for _, member in ipairs(members or {}) do
    if member[2] ~= nil then
      parts[#parts + 1] = json(member[1]) .. ":" .. json(member[2])
    end
  end
  ctx.events[#ctx.events + 1] = { parts = parts, folder = counted and event.mailbox or nil }
end

-- flags are the flags and keywords of an event. Every change of flags causes
-- both events, the one that changes nothing with none.
local function flags(...)
  local all = {}
  for _, list in ipairs({ ... }) do
    for _, flag in ipairs(list) do
      all[#all + 1] = flag
    end
  end
  return all
end

-- latest is the last new mail: its copies follow in the same process, each with a
-- transaction of its own.
local latest = {}

-- silent reports whether a new mail is one of those that are not reported.
local function silent(ctx, event)
  local folder = string.gsub(event.mailbox, "^INBOX[./]", "")
  for _, quiet in ipairs(quiet_folders) do
    if folder == quiet then
      return true
    end
  end
  for _, flag in ipairs(event.flags or {}) do
    if flag == "\\Seen" and not report_read then
      return true
    end
  end
  local id, now = event.message_id, os.time()
  if report_copies or id == nil or id == "" then
    return false
  end
  local copy = latest.id == id and latest.user == ctx.username and latest.folder ~= event.mailbox and now - latest.time < 60
  if not copy then
    latest = { id = id, user = ctx.username, folder = event.mailbox, time = now }
  end
  return copy
end

-- unseen is the number of unseen messages in a folder: nil if it is gone.
local function unseen(ctx, folder)
  local ok, status = pcall(function()
    local mailbox = ctx.user:mailbox(folder)
    mailbox:sync()
    local status = mailbox:status(dovecot.storage.STATUS_UNSEEN)
    mailbox:free()
    return status
  end)
  return ok and status.unseen or nil
end

local function content(event)
  return { { "from", event.from }, { "subject", event.subject }, { "snippet", event.snippet } }
end

function dovecot_lua_notify_event_message_new(ctx, event)
  if not silent(ctx, event) then
    note(ctx, event, "messageNew", content(event), true)
  end
end

function dovecot_lua_notify_event_message_append(ctx, event) note(ctx, event, "messageAppend", content(event), true) end
function dovecot_lua_notify_event_message_read(ctx, event) note(ctx, event, "messageRead", nil, true) end
function dovecot_lua_notify_event_message_trash(ctx, event) note(ctx, event, "messageTrash", nil, true) end
function dovecot_lua_notify_event_message_expunge(ctx, event) note(ctx, event, "messageExpunge", nil, true) end

function dovecot_lua_notify_event_flags_set(ctx, event)
  local all = flags(event.flags, event.keywords)
  if #all > 0 then
    note(ctx, event, "flagsSet", { { "flags", all } })
  end
end

function dovecot_lua_notify_event_flags_clear(ctx, event)
  local all = flags(event.flags, event.keywords)
  if #all > 0 then
    note(ctx, event, "flagsClear", { { "flags", all } })
  end
end

function dovecot_lua_notify_event_mailbox_create(ctx, event) note(ctx, event, "mailboxCreate") end
function dovecot_lua_notify_event_mailbox_delete(ctx, event) note(ctx, event, "mailboxDelete") end
function dovecot_lua_notify_event_mailbox_rename(ctx, event) note(ctx, event, "mailboxRename", { { "old-folder", event.mailbox_old } }) end
function dovecot_lua_notify_event_mailbox_subscribe(ctx, event) note(ctx, event, "mailboxSubscribe") end
function dovecot_lua_notify_event_mailbox_unsubscribe(ctx, event) note(ctx, event, "mailboxUnsubscribe") end

function dovecot_lua_notify_end_txn(ctx, success)
  if not success then
    return
  end
  local counts = {} -- one look for all events of a folder
  for i, event in ipairs(ctx.events) do
    local parts, folder = event.parts, event.folder
    if folder then
      if counts[folder] == nil then
        counts[folder] = unseen(ctx, folder) or false
      end
      if counts[folder] then
        parts[#parts + 1] = '"unseen":' .. json(counts[folder])
      end
    end
    local body = "{" .. table.concat(parts, ",") .. "}"
    local request = client:request({ url = url, method = "PUT" })
    request:add_header("Content-Type", "application/json; charset=utf-8")
    request:add_header("Authorization", authorization)
    request:set_payload(body)
    local response = request:submit()
    if response:status() < 200 or response:status() > 299 then
      dovecot.i_error(string.format("push.lua: the endpoint answers %d %s: %d events are not reported",
        response:status(), response:reason(), #ctx.events - i + 1 + ctx.left_out))
      return
    end
  end
  if ctx.left_out > 0 then
    dovecot.i_warning(string.format("push.lua: %d events of one transaction are not reported", ctx.left_out))
  end
end
