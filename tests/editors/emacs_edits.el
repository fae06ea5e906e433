;;; emacs_edits.el --- Edits of every kind, after which the server's text has to be the buffer's  -*- lexical-binding: t; -*-

;; Arguments: Python, the script of a server that answers `test/text', a Python file.  Prints how often it has compared.

(require 'mellum)

(defvar comparisons 0)

(pcase-let ((`(,python ,script ,file) command-line-args-left))
  (setq command-line-args-left nil
        mellum-server-command (list python "-P" script)
        mellum-enabled nil
        mellum-idle-delay nil
        make-backup-files nil
        create-lockfiles nil)
  (find-file file))

(defun compare (what)
  "Compare both texts after WHAT was done."
  (setq comparisons (1+ comparisons))
  (mellum--flush)
  (let ((theirs (jsonrpc-request mellum--connection :test/text (list :uri mellum--opened) :timeout 60)))
    (unless (equal theirs (mellum--whole-text))
      (error "The server has another text after %s" what))))

(defun edit ()
  "Change something somewhere, as a command does."
  (undo-boundary)
  (goto-char (+ (point-min) (random (1+ (buffer-size)))))
  (let ((end (min (point-max) (+ (point) (random 40)))))
    (pcase (random 12)
      (0 (insert "x"))
      (1 (insert "😀\n\tä"))
      (2 (delete-region (point) end))
      (3 (upcase-region (point) end))
      (4 (ignore-errors (transpose-words 1)))
      (5 (subst-char-in-region (point) end ?e ?E))
      (6 (save-restriction
           (narrow-to-region (point) end)
           (goto-char (point-min))
           (insert "# narrowed\n")))
      (7 (insert (string ?a (unibyte-char-to-multibyte 200) ?\r ?b)))
      (8 (indent-rigidly (point) end 2))
      (9 (primitive-undo 1 buffer-undo-list))
      (10 (combine-change-calls (point) end (delete-region (point) end)))
      (11 (let ((inhibit-modification-hooks t))
            (insert "unannounced"))))))

(mellum-mode 1)
(with-timeout (60 (error "The server does not start"))
  (while (not mellum--ready)
    (accept-process-output nil 0.05)))
(mellum--open)
(compare "opening")
(buffer-enable-undo)
(random "the same edits each time")
(dotimes (count 400)
  (edit)
  (when (zerop (random 3))
    (compare (format "edit %d" count))))
(compare "random edits")

(goto-char (point-min))
(while (search-forward "e" nil t)
  (replace-match "E" t))
(unless (> (count-matches "E" (point-min)) 1000)
  (error "These are few changes"))
(compare "a replacement with more changes than are sent one by one")
(undo-boundary)
(primitive-undo 1 buffer-undo-list)
(compare "undoing that")

(with-current-buffer (make-indirect-buffer (current-buffer) "indirect")
  (goto-char (point-min))
  (insert "from an indirect buffer\n"))
(compare "an edit in an indirect buffer")
(kill-buffer "indirect")

(revert-buffer t t t)
(compare "reverting")
(write-region "new = 1\n" nil buffer-file-name)
(revert-buffer t t t)
(compare "reverting to another text")

(let ((before mellum--opened))
  (write-file (expand-file-name "other.py"))
  (compare "writing to another file")
  (when (equal before mellum--opened)
    (error "The server still knows the old name")))

(fundamental-mode)
(when mellum--opened
  (error "The server keeps a buffer without the mode"))
(python-mode)
(mellum-mode 1)
(compare "another major mode")
(mellum-mode -1)
(when mellum--opened
  (error "The server keeps a buffer in which the mode is off"))
(mellum-stop)
(princ (format "%d" comparisons))

;;; emacs_edits.el ends here
