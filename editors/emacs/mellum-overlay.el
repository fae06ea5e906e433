;;; mellum-overlay.el --- Candidates and how they are shown  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; What the server suggests becomes candidates; one of them is shown as grey
;; text after point, and follows what is typed.

;;; Code:

(require 'cl-lib)
(require 'mellum-document)

(defface mellum-suggestion '((t :inherit shadow))
  "Face of grey text."
  :group 'mellum)

(defvar-local mellum--overlay nil "The overlay that shows grey text.")
(defvar-local mellum--at nil "A marker where the grey text begins.")
(defvar-local mellum--covered 0 "How many characters after point it stands for, too.")
(defvar-local mellum--items nil "The candidates, each (TEXT END COMMAND ITEM).")
(defvar-local mellum--index 0 "Which of them is shown.")
(defvar-local mellum--showing nil "Non-nil while grey text is shown; switches its keys on.")

(defun mellum--item (item)
  "Return (TEXT END COMMAND ITEM) for ITEM; nil if it does not fit here."
  (let* ((text (plist-get item :insertText))
         (range (plist-get item :range))
         (start (if range (mellum--place (plist-get range :start)) (point)))
         (end (if range (mellum--place (plist-get range :end)) (point)))
         (typed (and (<= start (point) end) (buffer-substring-no-properties start (point)))))
    (when (and typed (stringp text) (string-prefix-p typed text))
      (let ((rest (substring text (length typed))))
        (unless (string= rest (buffer-substring-no-properties (point) end))
          (list rest (copy-marker end t) (plist-get item :command) item))))))

(defun mellum--after-point (end)
  "Return the text from point to END."
  (buffer-substring-no-properties (point) (max (point) end)))

(defun mellum--show ()
  "Show the candidate that is current, as grey text at point."
  (pcase-let* ((`(,text ,end . ,_) (nth mellum--index mellum--items))
               (covered (mellum--after-point end))
               (stays (string-suffix-p covered text))
               (grey (if stays (substring text 0 (- (length text) (length covered))) text))
               (shown (propertize grey 'face 'mellum-suggestion)))
    (unless (overlayp mellum--overlay)
      (setq mellum--overlay (make-overlay (point) (point)))
      (overlay-put mellum--overlay 'priority 100))
    (overlay-put mellum--overlay 'window (selected-window))
    (if (and stays (eolp))
        (progn
          (put-text-property 0 1 'cursor t shown) ; the cursor stays before it
          (move-overlay mellum--overlay (point) (point))
          (overlay-put mellum--overlay 'display nil)
          (overlay-put mellum--overlay 'after-string shown))
      ;; Within a line the cursor is drawn after such a string.  So show it
      ;; in the place of what it replaces, or of the next character and that.
      (move-overlay mellum--overlay (point) (if stays (1+ (point)) end))
      (overlay-put mellum--overlay 'after-string nil)
      (overlay-put mellum--overlay 'display
                   (if stays (concat shown (buffer-substring (point) (1+ (point)))) shown)))
    (setq mellum--at (copy-marker (point))
          mellum--covered (length covered)
          mellum--showing t)))

(defun mellum--hide ()
  "Take the grey text away."
  (when (overlayp mellum--overlay)
    (delete-overlay mellum--overlay)
    (setq mellum--overlay nil))
  (setq mellum--items nil
        mellum--showing nil))

(defun mellum--brings-p (text covered)
  "Return non-nil if all characters of COVERED come in TEXT, in their order."
  (let ((from 0))
    (cl-every (lambda (char)
                (when-let ((at (cl-position char text :start from)))
                  (setq from (1+ at))))
              covered)))

(defun mellum--index-of (item candidates)
  "Return the index of the server's ITEM among CANDIDATES."
  (cl-position item candidates :key (lambda (candidate) (nth 3 candidate)) :test #'eq))

(defun mellum--follow ()
  "Keep what is shown where it was typed on; return non-nil if it stays.
All candidates that agree with what was typed are kept, too.  What else came
after point meanwhile is a closing bracket, which the text has to bring."
  (when (< mellum--at (point))
    (let* ((typed (buffer-substring-no-properties mellum--at (point)))
           (shown (nth mellum--index mellum--items))
           (left (cl-loop for (text end . rest) in mellum--items
                          for covered = (mellum--after-point end)
                          for remaining = (and (string-prefix-p typed text)
                                               (substring text (length typed)))
                          when (and remaining
                                    (not (string= remaining covered))
                                    (or (<= (length covered) mellum--covered)
                                        (mellum--brings-p remaining covered)))
                          collect (cons remaining (cons end rest))))
           (index (mellum--index-of (nth 3 shown) left)))
      (when index
        (setq mellum--items left
              mellum--index index)
        (mellum--show)
        t))))

(provide 'mellum-overlay)
;;; mellum-overlay.el ends here
