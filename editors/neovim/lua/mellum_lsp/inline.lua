-- Inline completion for Neovim 0.11: the part of `vim.lsp.inline_completion` that `mellum_lsp` needs.
-- It asks the server a moment after each change, shows the answer as grey text after the cursor, and keeps it there
-- while it is typed through.

local suggestion = require('mellum_lsp.suggestion')

local api = vim.api
local METHOD = 'textDocument/inlineCompletion'
local AUTOMATIC = 2 -- InlineCompletionTriggerKind
local DEBOUNCE = 75 -- milliseconds

local M = {}

local namespace = api.nvim_create_namespace('mellum_lsp')
local timer = assert(vim.uv.new_timer())
local place ---@type table? where the cursor was when we last looked
local pending ---@type { client: vim.lsp.Client, id: integer? }? the request that was sent last, until it is answered
local shown ---@type { buffer: integer, item: table, virtual_text: integer? }?
local candidates = { index = 1, client = nil, items = {} } -- of the last answer

local function inserting()
  return vim.startswith(api.nvim_get_mode().mode, 'i')
end

local function here()
  return {
    buffer = api.nvim_get_current_buf(),
    changed = api.nvim_buf_get_changedtick(0),
    cursor = api.nvim_win_get_cursor(0),
  }
end

local function hide()
  if shown and api.nvim_buf_is_valid(shown.buffer) then
    api.nvim_buf_clear_namespace(shown.buffer, namespace, 0, -1)
  end
  shown = nil
end

local function cancel()
  timer:stop()
  if pending and pending.id then
    pending.client:cancel_request(pending.id)
  end
  pending = nil
end

--- Draw what is left of the suggestion after the cursor, or hide it if nothing is.
local function draw()
  local rest, end_row, end_column = suggestion.rest(shown.item)
  if not rest or rest == '' then
    return hide()
  end
  local row, column = suggestion.cursor()
  local lines = vim.split(rest, '\n')
  -- Text after the cursor that the suggestion ends with stays as it is; other text that it replaces is covered.
  local replaced = table.concat(api.nvim_buf_get_text(0, row, column, end_row, end_column, {}), '\n')
  if #lines == 1 and replaced ~= '' and vim.endswith(rest, replaced) then
    lines[1], replaced = rest:sub(1, #rest - #replaced), ''
  end
  local grey = vim.tbl_map(function(line)
    return { { line, 'ComplHint' } }
  end, lines)
  shown.virtual_text = api.nvim_buf_set_extmark(0, namespace, row, column, {
    id = shown.virtual_text,
    virt_text = grey[1],
    virt_lines = vim.list_slice(grey, 2),
    virt_text_pos = replaced == '' and 'inline' or 'overlay',
    hl_mode = 'combine',
  })
end

---@param client vim.lsp.Client
---@param answer lsp.InlineCompletionItem
local function show(client, answer)
  hide()
  local row, column = suggestion.cursor()
  local buffer = api.nvim_get_current_buf()
  local function byte(position)
    local line = api.nvim_buf_get_lines(buffer, position.line, position.line + 1, false)[1] or ''
    return vim.str_byteindex(line, client.offset_encoding, position.character, false)
  end
  local start_row, start_column, end_row, end_column = row, column, row, column
  if answer.range then
    start_row, start_column = answer.range.start.line, byte(answer.range.start)
    end_row, end_column = answer.range['end'].line, byte(answer.range['end'])
  end
  -- Its end moves on with what is typed there.
  local mark = api.nvim_buf_set_extmark(buffer, namespace, end_row, end_column, { strict = false })
  local range = {}
  function range.to_extmark()
    local moved = api.nvim_buf_get_extmark_by_id(buffer, namespace, mark, {})
    return start_row, start_column, moved[1] or start_row, moved[2] or start_column
  end
  local item = { insert_text = answer.insertText, range = range, command = answer.command, client_id = client.id }
  shown = { buffer = buffer, item = item }
  draw()
end

--- Ask for a suggestion now.
function M.request()
  cancel()
  local client = vim.lsp.get_clients({ name = 'mellum', bufnr = api.nvim_get_current_buf(), method = METHOD })[1]
  if not client or not inserting() then
    return
  end
  local asked_from, mine = here(), { client = client }
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = AUTOMATIC }
  pending = mine
  _, mine.id = client:request(METHOD, params, function(failed, result)
    if pending ~= mine then
      return
    end
    pending = nil
    if not inserting() or not vim.deep_equal(asked_from, here()) then
      return -- the answer to the next request is on its way
    end
    local items = not failed and result and (result.items or result) or {}
    if items[1] and type(items[1].insertText) == 'string' then
      candidates = { index = 1, client = client, items = items }
      show(client, items[1])
    else
      hide()
    end
  end)
end

--- The text or the cursor changed: keep what was typed through, hide what was left, and ask again in a moment.
local function follow()
  local now = here()
  if vim.deep_equal(place, now) then
    return -- one keystroke is several events
  end
  local typed = place and place.buffer == now.buffer and place.changed ~= now.changed
  place = now
  if shown and typed then
    draw()
  else
    hide()
  end
  timer:start(DEBOUNCE, 0, vim.schedule_wrap(M.request))
end

local function leave()
  place = nil
  cancel()
  hide()
end

--- Show suggestions in every buffer that the server `mellum` serves.
function M.enable()
  api.nvim_set_hl(0, 'ComplHint', { default = true, link = 'NonText' })
  local group = api.nvim_create_augroup('mellum_lsp', {})
  api.nvim_create_autocmd(
    { 'InsertEnter', 'CursorMovedI', 'TextChangedI', 'TextChangedP' },
    { group = group, callback = follow }
  )
  api.nvim_create_autocmd({ 'InsertLeave', 'BufLeave' }, { group = group, callback = leave })
  api.nvim_create_autocmd('LspAttach', {
    group = group,
    callback = function()
      if inserting() then
        M.request()
      end
    end,
  })
end

--- Show another candidate of the same answer.
---@param options { count: integer }
function M.select(options)
  if not shown then
    return
  end
  candidates.index = (candidates.index - 1 + options.count) % #candidates.items + 1
  show(candidates.client, candidates.items[candidates.index])
end

--- Hand the suggestion that is shown to `on_accept`, once that may change the text.
---@param options { on_accept: fun(item: table) }
---@return boolean handed false if none is shown, or it no longer fits the text
function M.get(options)
  local item = shown and suggestion.rest(shown.item) and shown.item
  if item then
    vim.schedule(function()
      if inserting() then
        options.on_accept(item)
      end
    end)
  end
  return item and true or false
end

return M
