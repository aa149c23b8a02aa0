# SPDX-License-Identifier: GPL-2.0
# The library of the tests in this folder: one file a capability.

LIBDEDUP_DIR := $(selfdir)/module/lib

LIBDEDUP_O := $(patsubst $(LIBDEDUP_DIR)/%.c, $(OUTPUT)/lib/%.o, $(wildcard $(LIBDEDUP_DIR)/*.c))

$(OUTPUT)/lib:
	$(Q)mkdir -p $@

$(LIBDEDUP_O): $(OUTPUT)/lib/%.o: $(LIBDEDUP_DIR)/%.c $(LOCAL_HDRS) | $(OUTPUT)/lib
	$(call msg,CC,,$@)
	$(Q)$(CC) $(CFLAGS) $(CPPFLAGS) $(TARGET_ARCH) -c $< -o $@

EXTRA_CLEAN += $(LIBDEDUP_O)
