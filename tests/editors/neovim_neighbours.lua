-- Stands in for nvim-autopairs and nvim-cmp, whose archives cannot be had everywhere: the keys that they map, as they
-- map them, and no more.

-- Of pairs: an opening bracket brings the closing one, and typing that steps over it.
for open, close in pairs({ ['('] = ')', ['['] = ']', ['{'] = '}' }) do
  vim.keymap.set('i', open, open .. close .. '<C-g>U<Left>')
  vim.keymap.set('i', close, function()
    local column = vim.api.nvim_win_get_cursor(0)[2]
    local after = vim.api.nvim_get_current_line():sub(column + 1, column + 1)
    return after == close and '<C-g>U<Right>' or close
  end, { expr = true })
end

-- Of the menu: a key opens it, Tab goes to its next entry, Enter takes that; without a menu, both are themselves.
vim.o.completeopt = 'menuone,noselect'
vim.keymap.set('i', '<C-Space>', '<C-x><C-n>')
vim.keymap.set('i', '<Tab>', function()
  return vim.fn.pumvisible() == 1 and '<C-n>' or '<Tab>'
end, { expr = true })
vim.keymap.set('i', '<CR>', function()
  return vim.fn.complete_info({ 'selected' }).selected >= 0 and '<C-y>' or '<CR>'
end, { expr = true })
